"""Transformer inference in this process, by libtessera.

    with tessera.Model("model.gguf") as model, model.engine() as engine:
        session = engine.session().append_chat([{"role": "user", "content": "Hello"}])
        for chunk in session.generate(max_tokens=200):
            print(chunk, end="", flush=True)

`async for` does the same in asyncio. Every call lets go of the GIL; callbacks take it.
"""

from ._core import (Engine, Metadata, Model, ModelInfo, Queue, Reader, Runtime, Session, StepStats, abi, plan, probe,
                    version)
from ._events import Chunk, Event, Finished, FinishReason, Generation
from ._library import (Busy, Cancelled, Closed, Corrupt, DeadlineExceeded, InvalidArgument, InvalidUtf8, LimitExceeded,
                       Mismatch, NotFound, OutOfMemory, Status, TesseraError, Unsupported, WrongState)

__all__ = [
    "Busy", "Cancelled", "Chunk", "Closed", "Corrupt", "DeadlineExceeded", "Engine", "Event", "Finished",
    "FinishReason", "Generation", "InvalidArgument", "InvalidUtf8", "LimitExceeded", "Metadata", "Mismatch", "Model",
    "ModelInfo", "NotFound", "OutOfMemory", "Queue", "Reader", "Runtime", "Session", "Status", "StepStats",
    "TesseraError", "Unsupported", "WrongState", "abi", "plan", "probe", "version",
]
