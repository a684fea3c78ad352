# SPDX-License-Identifier: Apache-2.0
"""Workspaces of one GPU for launches that nobody gives one: one for each stream, and one for each
stream of each captured graph, so that a graph may be replayed beside anything else.

A graph's workspace must live as long as the graph, and only the graph knows how long that is. So it
holds a CUDA user object, whose end posts a semaphore: then the next capture takes the workspace over.
The memory comes from the driver and not from PyTorch: what PyTorch allocates during a capture belongs
to the graph's private pool, in which nothing may be kept that is no output.
"""
import ctypes
import functools
import os
import threading
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p

from ._context import Context
from ._library import DriverError, OutOfMemory

_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED
_NO_DESTRUCTOR_SYNC = 1
_MOVE = 1  # the graph takes our reference over
_SEMAPHORE_BYTES = 64  # sizeof(sem_t) is 32 in glibc
_OUT_OF_MEMORY = 2
LEAST_BYTES = 1 << 20


class Workspaces:
    """Each method returns the address of at least `nbytes` that are initialised for what follows on
    `stream`. The device's primary context must be current. Thread-safe."""

    def __init__(self, context: Context):
        self._context = context
        self._lock = threading.Lock()
        self._of_streams: dict[int, tuple[int, int]] = {}  # stream: address, bytes
        self._of_graphs: dict[tuple[int, int], tuple[int, int]] = {}  # capture, stream: the same
        self._ends: dict[int, tuple[tuple[int, int], tuple[int, int]]] = {}  # semaphore: the above
        self._free: list[tuple[int, int]] = []

    def of_stream(self, stream: int, nbytes: int) -> int:
        address, size = self._of_streams.get(stream, (0, 0))
        if size >= nbytes:
            return address
        with self._lock:
            # The outgrown one is not freed, since launches in the queue use it; twice the size bounds
            # what that costs.
            block = _allocate(max(nbytes, 2 * size, LEAST_BYTES))
            self._context.init_workspace(*block, stream)
            self._of_streams[stream] = block
            return block[0]

    def of_capture(self, stream: int, nbytes: int) -> int:
        """For a stream that is being captured: the first call of a graph puts the clearing of the
        workspace into it."""
        capture, graph = _capture(stream)
        with self._lock:
            address, size = self._of_graphs.get((capture, stream), (0, 0))
            if size >= nbytes:
                return address
            self._take_back()
            block = next((b for b in self._free if b[1] >= nbytes), None)
            if block:
                self._free.remove(block)
            else:
                block = _allocate(max(nbytes, LEAST_BYTES))
            semaphore = _post_at_end_of(graph)
            self._ends[semaphore] = ((capture, stream), block)
            self._of_graphs[capture, stream] = block
            self._context.init_workspace(*block, stream)
            return block[0]

    def _take_back(self) -> None:
        """What graphs that are gone had."""
        libc = _libc()
        for semaphore in [s for s in self._ends if libc.sem_trywait(s) == 0]:
            key, block = self._ends.pop(semaphore)
            libc.free(semaphore)
            if self._of_graphs.get(key) == block:
                del self._of_graphs[key]
            self._free.append(block)


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL(os.environ.get("NVFP4_LIBCUDA") or "libcuda.so.1")


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.calloc.restype, libc.calloc.argtypes = c_void_p, (c_size_t, c_size_t)
    libc.free.restype, libc.free.argtypes = None, (c_void_p,)
    libc.sem_init.argtypes = (c_void_p, c_int, c_uint)
    libc.sem_trywait.argtypes = (c_void_p,)
    return libc


def _check(code: int, what: str) -> None:
    if code:
        kind = OutOfMemory if code == _OUT_OF_MEMORY else DriverError
        raise kind(f"{what} failed: CUDA error {code}")


def _allocate(nbytes: int) -> tuple[int, int]:
    driver = _driver()
    address, mode = c_uint64(), c_int(_RELAXED)
    # Any capture, of this thread or another, would otherwise refuse the allocation and end.
    _check(driver.cuThreadExchangeStreamCaptureMode(byref(mode)), "cuThreadExchangeStreamCaptureMode")
    try:
        _check(driver.cuMemAlloc_v2(byref(address), c_size_t(nbytes)),
               f"a workspace of {nbytes} bytes: cuMemAlloc")
    finally:
        driver.cuThreadExchangeStreamCaptureMode(byref(mode))
    return address.value, nbytes


def _capture(stream: int) -> tuple[int, int]:
    """The number, unique in this process, and the CUgraph of the capture that `stream` is in."""
    status, number, graph = c_int(), c_uint64(), c_void_p()
    outputs = (byref(status), byref(number), byref(graph))
    driver = _driver()
    if hasattr(driver, "cuStreamGetCaptureInfo_v2"):
        code = driver.cuStreamGetCaptureInfo_v2(c_void_p(stream), *outputs, None, None)
    else:
        code = driver.cuStreamGetCaptureInfo_v3(c_void_p(stream), *outputs, None, None, None)
    _check(code, "cuStreamGetCaptureInfo")
    return number.value, graph.value or 0


def _post_at_end_of(graph: int) -> int:
    """A semaphore that is posted when `graph` and all that was instantiated from it are gone. The
    driver calls sem_post itself: no Python runs in its threads, at exit least of all."""
    libc, driver = _libc(), _driver()
    semaphore = libc.calloc(1, _SEMAPHORE_BYTES)
    libc.sem_init(semaphore, 0, 0)
    user_object = c_void_p()
    post = ctypes.cast(libc.sem_post, c_void_p)
    _check(driver.cuUserObjectCreate(byref(user_object), c_void_p(semaphore), post, 1,
                                     _NO_DESTRUCTOR_SYNC), "cuUserObjectCreate")
    _check(driver.cuGraphRetainUserObject(c_void_p(graph), user_object, 1, _MOVE),
           "cuGraphRetainUserObject")
    return semaphore
