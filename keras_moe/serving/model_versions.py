"""The folder of versions: load the newest, switch to it, free the old one."""

import contextlib
import gc
import logging
import pathlib
import threading
from typing import Any
from typing import NamedTuple

from keras_moe.serving.errors import ServingError
from keras_moe.serving.loaded_model import LoadedModel
from keras_moe.serving.version_files import list_versions
from keras_moe.serving.version_files import take_fingerprint

logger = logging.getLogger(__name__)


class VersionStatus(NamedTuple):
    """What has become of a version.

    Attributes:
        version: int.
        state: string, a state of TensorFlow Serving: `"LOADING"`,
            `"AVAILABLE"`, `"UNLOADING"` or `"END"`.
        error: string, empty unless the version was refused.
    """

    version: int
    state: str
    error: str


class _Served:
    """A loaded version and how many requests use it."""

    def __init__(self, model, fingerprint):
        self.model = model
        self.fingerprint = fingerprint
        self.users = 0


class ModelVersions:
    """Serves the highest version of a folder that can be loaded.

    A thread looks at the folder. A version that cannot be loaded, or fails on
    its warm-up requests, is refused until its files change; a version whose
    files are replaced is loaded again. A version that is removed goes on
    until a higher one appears.

    Args:
        folder: path that holds the numbered versions.
        name: string, the model's name in requests.
        metrics: `Metrics`.
        poll_seconds: float, time between two looks.
        load: function from a version's folder to a `LoadedModel`.

    Raises:
        ValueError: If no version can be loaded.
    """

    _current: Any = None

    def __init__(
        self, folder, name, metrics, *, poll_seconds=1.0, load=LoadedModel
    ):
        self.name = name
        self._folder = pathlib.Path(folder)
        self._metrics = metrics
        self._load = load
        self._poll_seconds = poll_seconds
        self._old: list[_Served] = []
        self._loading = None
        # version -> (fingerprint, error)
        self._refused: dict[int, tuple] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="keras_moe-versions", daemon=True
        )
        self.poll()
        if self._current is None:
            reasons = "; ".join(
                f"version {version}: {error}"
                for version, (_, error) in sorted(self._refused.items())
            )
            raise ValueError(
                "Expected a folder with numbered versions of a SavedModel. "
                f"Received: path={str(folder)!r} with "
                f"{reasons or 'no version'}. Write one with `keras-moe export`."
            )
        self._thread.start()

    @contextlib.contextmanager
    def lease(self, name=None, version=None):
        """Hold a loaded version; it is not freed meanwhile.

        Args:
            name: optional string, the model's name that a client sent.
            version: optional int; default: the newest.

        Yields:
            A `LoadedModel`.

        Raises:
            ServingError: If there is no such model or version.
        """
        with self._lock:
            served = self._find(name, version)
            served.users += 1
        try:
            yield served.model
        finally:
            with self._lock:
                served.users -= 1

    def status(self, name=None, version=None):
        """List what has become of each version, newest first.

        Args:
            name: optional string, the model's name that a client sent.
            version: optional int, the only one to list.

        Returns:
            list of `VersionStatus`.

        Raises:
            ServingError: If there is no such model or version.
        """
        with self._lock:
            found = {
                number: VersionStatus(number, "END", error)
                for number, (_, error) in self._refused.items()
            }
            if self._loading is not None:
                found[self._loading] = VersionStatus(
                    self._loading, "LOADING", ""
                )
            for served in self._old:
                number = served.model.version
                found[number] = VersionStatus(number, "UNLOADING", "")
            number = self._current.model.version
            found[number] = VersionStatus(number, "AVAILABLE", "")
        if name not in (None, self.name) or version not in (None, *found):
            raise self._not_found(name, version)
        return [
            found[number]
            for number in sorted(found, reverse=True)
            if version in (None, number)
        ]

    def poll(self):
        """Look at the folder once, and load what is new."""
        self._free_unused()
        found = list_versions(self._folder)
        with self._lock:
            self._refused = {
                version: refusal
                for version, refusal in self._refused.items()
                if version in found
            }
        for version in found:
            current = self._current
            if current is not None and version < current.model.version:
                return
            try:
                fingerprint = take_fingerprint(self._folder / str(version))
            except OSError:
                # It is just being removed.
                continue
            if current is not None and fingerprint == current.fingerprint:
                return
            if self._refused.get(version, (None,))[0] == fingerprint:
                continue
            if self._try(version, fingerprint):
                return

    def close(self):
        """Stop looking at the folder."""
        self._stopped.set()
        self._thread.join()

    def _watch(self):
        while not self._stopped.wait(self._poll_seconds):
            try:
                self.poll()
            except Exception:
                # A share that is away comes back; the model serves meanwhile.
                logger.exception("Looking for versions failed")

    def _find(self, name, version):
        for served in (self._current, *self._old):
            if name in (None, self.name) and version in (
                None,
                served.model.version,
            ):
                return served
        raise self._not_found(name, version)

    def _not_found(self, name, version):
        asked = "Latest" if version is None else f"Specific({version})"
        return ServingError(
            "NOT_FOUND",
            f"Servable not found for request: {asked} of {name!r}. "
            f"This server has {self.name!r}.",
        )

    def _try(self, version, fingerprint):
        """Load a version and switch to it; return whether that went well."""
        logger.info("Loading version %d", version)
        self._loading = version
        try:
            model = self._load(self._folder / str(version))
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            logger.error("Refused version %d: %s", version, reason)
            with self._lock:
                self._refused[version] = (fingerprint, reason[:1000])
            return False
        finally:
            self._loading = None
        with self._lock:
            if self._current is not None:
                self._old.append(self._current)
            self._current = _Served(model, fingerprint)
            self._refused.pop(version, None)
        self._metrics.version.set(version)
        logger.info("Serving version %d", version)
        self._free_unused()
        return True

    def _free_unused(self):
        """Forget old versions that no request uses any more."""
        with self._lock:
            kept = [served for served in self._old if served.users]
            freed = len(self._old) - len(kept)
            self._old = kept
        if freed:
            # The functions of a SavedModel refer to each other in circles.
            gc.collect()
