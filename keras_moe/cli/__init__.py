"""The command `keras-moe`: train, generate, export, inspect."""


def main():
    """Run the command line; the entry point of `keras-moe`."""
    try:
        from keras_moe.cli.app import run
    except ImportError as error:
        raise SystemExit(
            "keras-moe: the command line needs typer and rich: "
            f"pip install 'keras-moe[cli]' ({error})"
        ) from error
    run()
