"""The measuring process of `actune bench`; started by `process.run`, with a plan on its standard input."""

from .process import serve

if __name__ == "__main__":
    try:
        serve()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
