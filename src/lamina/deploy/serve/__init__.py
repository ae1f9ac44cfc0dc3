"""Live captions for many listeners: one page, one WebSocket each, all of them rows of one batch.

    clients --- WebSocket ---> Session ---> Engine, one thread: Listeners.push for every row that has sound
            <-- captions  ---  (event loop, which never computes)

`protocol` says what goes over the wire, `limits` what is refused, `docs/serve.md` how to write a client.
"""

from lamina.deploy.serve.about import About
from lamina.deploy.serve.app import App
from lamina.deploy.serve.engine import Engine
from lamina.deploy.serve.limits import Access, Limits
from lamina.deploy.serve.run import serve

__all__ = ["About", "Access", "App", "Engine", "Limits", "serve"]
