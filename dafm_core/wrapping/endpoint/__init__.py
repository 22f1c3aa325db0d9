"""Models behind an OpenAI-compatible server: requests, answers that are kept, a bill before any of
them is sent. What is asked, each plugin knows.
"""
