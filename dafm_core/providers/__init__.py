"""Four built-in frozen providers that see pixels and text only, and fail differently."""

from __future__ import annotations

from dafm_core.descriptions import ProviderInfo

BUILTIN_PROVIDERS: list[ProviderInfo] = [
    ProviderInfo(
        name="scenes-color",
        summary="how much of each colour, anywhere; edited by the colour words of the text",
        factory="dafm_core.providers.color:ColorProvider",
        licence="Apache-2.0",
    ),
    ProviderInfo(
        name="scenes-layout",
        summary="where something stands out from the ground; edited by the place words of the text",
        factory="dafm_core.providers.layout:LayoutProvider",
        licence="Apache-2.0",
    ),
    ProviderInfo(
        name="scenes-shape",
        summary="directions and bends of edges; edited by the shape and size words of the text",
        factory="dafm_core.providers.shape:ShapeProvider",
        licence="Apache-2.0",
    ),
    ProviderInfo(
        name="scenes-words",
        summary="checks what the text asks for, colour by colour and place by place",
        factory="dafm_core.providers.words:WordsProvider",
        licence="Apache-2.0",
    ),
]
