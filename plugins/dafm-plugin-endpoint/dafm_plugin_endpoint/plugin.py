"""What this plugin offers, described without importing NumPy or opening a connection."""

from __future__ import annotations

from dafm_core.contract.descriptions import Option, ProviderInfo
from dafm_core.contract.hookspecs import hookimpl

dafm_api_version = 2


@hookimpl
def dafm_similarity_providers() -> list[ProviderInfo]:
    """Describe the provider."""
    return [
        ProviderInfo(
            name="endpoint",
            summary="embeddings from an OpenAI-compatible server; images as vLLM takes them",
            factory="dafm_plugin_endpoint.provider:load",
            references="any",
            citation="each model has its own paper",
            licence="this code Apache-2.0; the server's model and terms are yours to check",
            options=(
                Option(name="endpoint", required=True, summary="http://HOST:PORT of the server"),
                Option(name="model", required=True, summary="as the server calls it"),
                Option(
                    name="send",
                    kind="bool",
                    default=False,
                    summary="send requests; otherwise only say how many, and use what is cached",
                ),
                Option(
                    name="compose",
                    default="auto",
                    choices=("auto", "joint", "sum", "text", "image"),
                    summary="what a query is; auto: joint, or text where captions are given",
                ),
                Option(
                    name="weight",
                    kind="float",
                    default=1.0,
                    summary="of the reference beside the text, for compose=sum",
                ),
                Option(name="prompt", default="", summary="put before the text of a query"),
                Option(name="gallery_prompt", default="", summary="put beside every candidate"),
                Option(
                    name="captions",
                    kind="path",
                    summary="JSON object, image id -> list of captions: send these, not images",
                ),
                Option(name="dimensions", kind="int", summary="ask the server for so many only"),
                Option(
                    name="image_side",
                    kind="int",
                    default=1024,
                    summary="pixels of an image's longer side that are sent at most",
                ),
                Option(name="batch_size", kind="int", default=64, summary="texts per request"),
                Option(
                    name="concurrency",
                    kind="int",
                    default=4,
                    summary="requests at a time",
                ),
                Option(name="timeout", kind="float", default=60.0, summary="seconds for an answer"),
                Option(
                    name="retries", kind="int", default=5, summary="further tries of a busy server"
                ),
                Option(name="key_env", summary="variable of the environment with the server's key"),
                Option(name="cache", kind="path", summary="file of answers; default: by model"),
            ),
        )
    ]
