"""Subscriptions over HTTP and events over a WebSocket: PS3.18 sections 11.10 to 11.13 and 8.10."""

import asyncio
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response, WebSocket

from service.access.routes import Reader
from service.runtime import Running, root_of
from service.worklist import channel, subscriptions
from service.worklist.channel import Channels, Follower

router = APIRouter(tags=["worklist"])


@router.post("/dicom-web/workitems/{uid}/subscribers/{aet}", status_code=201)
def subscribe(
    uid: str,
    aet: str,
    request: Request,
    principal: Reader,
    runtime: Running,
    deletionlock: bool = False,
    matching: Annotated[
        str, Query(alias="filter", description="Matching keys of a filtered worklist: key=value,key=value.")
    ] = "",
) -> Response:
    """Subscribe to a workitem, to the worklist, or to a filtered one (section 11.10)."""
    subscriber = subscriptions.subscriber_of(principal, aet)
    with runtime.database.writing() as connection:
        subscriptions.subscribe(
            connection, principal, subscriber, uid, has_lock=deletionlock, matching=matching, now=runtime.clock()
        )
    root = root_of(request).replace("http", "ws", 1)
    place = f"{root}/dicom-web/subscribers/{quote(subscriber.aet, safe='')}"
    return Response(status_code=201, headers={"Content-Location": place})


@router.delete("/dicom-web/workitems/{uid}/subscribers/{aet}")
def unsubscribe(uid: str, aet: str, principal: Reader, runtime: Running) -> Response:
    """Unsubscribe (section 11.11); from the worklist, then from every workitem too."""
    subscriber = subscriptions.subscriber_of(principal, aet)
    with runtime.database.writing() as connection:
        subscriptions.unsubscribe(connection, principal, subscriber, uid, now=runtime.clock())
    return Response(status_code=200)


@router.post("/dicom-web/workitems/{uid}/subscribers/{aet}/suspend")
def suspend_subscription(uid: str, aet: str, principal: Reader, runtime: Running) -> Response:
    """Subscribe to no further workitems (section 11.12); those that are there stay subscribed to."""
    subscriber = subscriptions.subscriber_of(principal, aet)
    with runtime.database.writing() as connection:
        subscriptions.suspend(connection, subscriber, uid, now=runtime.clock())
    return Response(status_code=200)


@router.websocket("/dicom-web/subscribers/{aet}")
async def open_channel(socket: WebSocket, aet: str, principal: Reader, runtime: Running) -> None:
    """Open the event channel of a subscriber (section 8.10.4), whatever it has subscribed to by now."""
    channels: Channels = socket.app.state.channels
    subscriber = subscriptions.subscriber_of(principal, aet)

    def begin() -> Follower:
        with runtime.database.reading() as connection:
            return Follower(connection, subscriber)

    with channels.place(principal.name):
        # Before it is accepted: whatever is subscribed to after that is new to this channel.
        follower = await asyncio.to_thread(begin)
        await socket.accept()
        await channel.serve(socket, follower, runtime, channels)
