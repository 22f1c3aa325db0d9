"""A search as a service on one's own machine: HTTP, and a page that needs no network.

What is computed stands in ``dafm_core.search``; here are limits, guards, batching and the page. The
extra ``[serve]`` is needed: Starlette routes and reads forms, uvicorn speaks HTTP.
"""
