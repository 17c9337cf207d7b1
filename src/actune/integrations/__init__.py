"""actune in other libraries, which are told of it when they are imported, and not before."""

from .imports import when_imported

__all__ = ["tell_libraries"]


def tell_libraries() -> None:
    """Make actune known to those libraries that are imported, or will be."""
    when_imported("transformers.modeling_utils", "actune.integrations.huggingface", "register")
