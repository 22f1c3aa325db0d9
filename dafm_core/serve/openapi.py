"""The service described for machines (OpenAPI 3.1)."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any


def described() -> dict[str, Any]:
    """Return the description that ``GET /openapi.json`` answers."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dafm serve",
            "version": version("dafm-core"),
            "description": "Live queries over a gallery index with a fitted fusion.",
        },
        "paths": {
            "/search": {"post": _search()},
            "/images/{id}": {"get": _image()},
            "/gallery": {"get": _simple("Ids of images, a page at a time.", _QUERIES)},
            "/queries": {"get": _simple("Known queries, with their targets.", _QUERIES)},
            "/judgements": {
                "get": _simple("What was judged of a query.", _ASKED),
                "post": _judgement(),
            },
            "/health": {"get": _simple("Whether queries are answered, and by what.", [])},
        },
    }


def _search() -> dict[str, Any]:
    text = {"type": "string"}
    fields = {
        "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "reference": {"type": "array", "items": text, "description": "ids of the gallery"},
        "text": text,
        "k": {"type": "integer", "minimum": 1, "default": 20},
        "filter": {**text, "description": "a condition on the gallery's columns, in SQL"},
        "explain": {"type": "boolean", "default": True},
    }
    content = {"multipart/form-data": {"schema": {"type": "object", "properties": fields}}}
    return {
        "summary": "Rank the gallery for reference images and a text.",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {
                "description": "hits (rank, image_id, score, and of every provider: score, "
                "standardised, rank, contribution, rank_without), singles by provider, left_out, "
                "estimated, notes"
            },
            **_errors(400, 404, 413, 415, 422, 503),
        },
    }


def _judgement() -> dict[str, Any]:
    text = {"type": "string"}
    fields = {
        "references": {"type": "array", "items": text, "description": "ids of the gallery"},
        "text": text,
        "image": {**text, "description": "id of the image that is judged"},
        "mark": {"enum": ["meant", "not", "none"], "description": "none takes a mark back"},
    }
    schema = {"type": "object", "properties": fields, "required": list(fields)}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    described = _simple("Mark an image as meant, not meant, or neither.", [])
    return {**described, "requestBody": body}


def _image() -> dict[str, Any]:
    return {
        "summary": "An image of the gallery as JPEG, upright.",
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
            {"name": "size", "in": "query", "schema": {"enum": ["thumbnail", "full"]}},
        ],
        "responses": {"200": {"description": "image/jpeg"}, **_errors(404, 410)},
    }


def _simple(summary: str, parameters: list[str]) -> dict[str, Any]:
    return {
        "summary": summary,
        "parameters": [
            {"name": n, "in": "query", "schema": {"type": "string"}} for n in parameters
        ],
        "responses": {"200": {"description": "JSON"}, **_errors(400, 404)},
    }


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): {"description": "{'error': one line of reason}"} for status in statuses}


_QUERIES = ["start", "n", "find"]
_ASKED = ["reference", "text"]
