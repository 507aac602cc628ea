"""Those who send and read during the storm, and the book of what they were told."""

import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from benchmarks.storm_films import Film, Films
from benchmarks.storm_processes import Service
from service.worklist.readings import Confidence, Finding, Result
from service.worklist.schemas import result_dataset

_JSON = "application/dicom+json"
Key = tuple[str, str]


@dataclass(kw_only=True)
class Book:
    """What was sent, what was acknowledged, and what went wrong; written by all threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    #: By the SHA-256 of what was sent.
    sent: dict[str, bytes] = field(default_factory=dict)
    #: (site, instance): the digest that was acknowledged.
    stored: dict[Key, str] = field(default_factory=dict)
    films: list[tuple[str, Film]] = field(default_factory=list)
    #: (site, instance, digest of other bytes under that name) that were refused.
    refused: set[tuple[str, str, str]] = field(default_factory=set)
    #: Workitem: the finding of a result that was acknowledged, and of one that was made final.
    results: dict[str, str] = field(default_factory=dict)
    finals: dict[str, str] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        """Count something."""
        with self.lock:
            self.counts[what] += number

    def fault(self, what: str) -> None:
        """Note something that must not happen."""
        with self.lock:
            self.faults.append(what)

    def send(self, film: Film) -> str:
        """Note that a film is being sent; return its digest."""
        digest = hashlib.sha256(film.data).hexdigest()
        with self.lock:
            self.sent[digest] = film.data
        return digest

    def acknowledge(self, site: str, film: Film) -> None:
        """Note that a film was acknowledged."""
        digest = hashlib.sha256(film.data).hexdigest()
        with self.lock:
            present = self.stored.setdefault((site, film.instance), digest)
            if present != digest:
                self.faults.append("two different files were acknowledged under one SOP Instance UID")
            self.films.append((site, film))


@dataclass(kw_only=True)
class Weather:
    """When to stop: no new work, and no more asking again."""

    is_over: threading.Event = field(default_factory=threading.Event)
    gives_up: threading.Event = field(default_factory=threading.Event)


class Client:
    """Somebody who asks until answered, of whichever process listens."""

    def __init__(self, services: Sequence[Service], token: str, book: Book, weather: Weather, seed: int) -> None:
        self._services, self._book, self.weather = services, book, weather
        self.rng = random.Random(seed)
        self._http = httpx.Client(timeout=30, headers={"Authorization": f"Bearer {token}"})

    def ask(self, method: str, path: str, expected: set[int], **options: object) -> httpx.Response | None:
        """Return an answer that is neither a refusal for the moment nor a broken connection; None after giving up."""
        while not self.weather.gives_up.is_set():
            service = self.rng.choice(self._services)
            try:
                answer = self._http.request(method, service.url + path, **options)  # pyright: ignore[reportArgumentType]
            except httpx.TransportError:
                self._book.count("connections broken")
                time.sleep(self.rng.uniform(0.05, 0.4))
                continue
            if answer.status_code in (429, 503):
                self._book.count("answers 503 and 429")
                time.sleep(self.rng.uniform(0.05, 0.4))
                continue
            if answer.status_code not in expected:
                self._book.fault(
                    f"{method} {path.split('?', maxsplit=1)[0][:40]} was answered {answer.status_code}: {answer.text[:200]}"
                )
            return answer
        return None


class Sender(Client):
    """One sender of a site; ``others`` are the tokens of further sites."""

    def __init__(self, site: str, films: Films, *arguments: object) -> None:
        super().__init__(*arguments)  # pyright: ignore[reportArgumentType]
        self._site, self._films = site, films

    def run(self) -> None:
        """Send until the storm is over."""
        acts = [self.post_one, self.post_several, self.post_in_turns, self.resend, self.conflict, self.twins, self.late]
        while not self.weather.is_over.is_set():
            self.rng.choices(acts, weights=[6, 4, 2, 2, 1.5, 1.5, 1.5])[0]()

    def post_one(self) -> None:
        """Post a study of one film."""
        self.post(self._films.make())

    def post(self, film: Film, *, more: bool = False) -> bool:
        """Post one film to /v1/studies; return whether it was acknowledged."""
        digest = self._book.send(film)
        self._book.count("posts")
        headers = {"Content-Type": "application/dicom"}
        answer = self.ask(
            "POST", f"/v1/studies{'?more=true' * more}", {200, 201, 202, 409}, content=film.data, headers=headers
        )
        if answer is not None and answer.status_code in (200, 201, 202):
            self._book.acknowledge(self._site, film)
            return True
        if answer is not None and answer.status_code == 409:
            self._refuse(film, digest)
        return False

    def store(self, films: Sequence[Film]) -> int:
        """Store films by STOW-RS; return how many were acknowledged."""
        digests = {film.instance: self._book.send(film) for film in films}
        self._book.count("posts")
        body = b"".join(b"--s\r\nContent-Type: application/dicom\r\n\r\n" + film.data + b"\r\n" for film in films)
        headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=s'}
        answer = self.ask("POST", "/dicom-web/studies", {200, 202, 409}, content=body + b"--s--\r\n", headers=headers)
        if answer is None:
            return 0
        told = answer.json()
        stored = {item["00081155"]["Value"][0] for item in told.get("00081199", {}).get("Value", ())}
        failed = {item["00081155"]["Value"][0] for item in told.get("00081198", {}).get("Value", ())}
        if stored | failed != set(digests) or (answer.status_code == 200) != (not failed):
            self._book.fault("an answer to STOW-RS does not account for every instance")
        for film in films:
            if film.instance in stored:
                self._book.acknowledge(self._site, film)
            elif film.instance in failed:
                self._refuse(film, digests[film.instance])
        return len(stored)

    def post_several(self) -> None:
        """Store a study of up to three films at once, or of two studies."""
        first = self._films.make()
        same = self.rng.random() < 0.7
        self.store([first, *(self._films.make(first.study if same else "") for _ in range(self.rng.randrange(3)))])

    def post_in_turns(self) -> None:
        """Post a study of two films, the second of which says that it is whole."""
        first = self._films.make()
        if self.post(first, more=True):
            self.post(self._films.make(first.study))

    def resend(self) -> None:
        """Send again what was acknowledged: a success that changes nothing."""
        film = self._mine()
        if film is not None:
            self._book.count("resends")
            done = self.post(film) if self.rng.random() < 0.5 else self.store([film])
            if not done and not self.weather.gives_up.is_set():
                self._book.fault("a resend of the same bytes was refused")

    def conflict(self) -> None:
        """Send other bytes under a known name: refused."""
        film = self._mine()
        if film is not None:
            other = self._films.make(film.study, film.instance)
            self._book.count("conflicts")
            if self.post(other) if self.rng.random() < 0.5 else self.store([other]):
                self._book.fault("other bytes under a known SOP Instance UID were acknowledged")

    def twins(self) -> None:
        """Send the same study by two senders at once; every other time with different bytes under one name."""
        film = self._films.make()
        differs = self.rng.random() < 0.5
        other = self._films.make(film.study, film.instance) if differs else film
        twin = Sender(self._site, self._films, *self._twin_arguments())
        self._book.count("studies sent twice at once")
        thread = threading.Thread(target=twin.post, args=(other,))
        thread.start()
        self.store([film])
        thread.join()

    def late(self) -> None:
        """Send a further film of a study that was sent before."""
        film = self._mine()
        if film is not None:
            self._book.count("late films")
            self.post(self._films.make(film.study))

    def _mine(self) -> Film | None:
        with self._book.lock:
            mine = [film for site, film in self._book.films[-200:] if site == self._site]
        return self.rng.choice(mine) if mine else None

    def _refuse(self, film: Film, digest: str) -> None:
        with self._book.lock:
            self._book.refused.add((self._site, film.instance, digest))

    def _twin_arguments(self) -> tuple[object, ...]:
        token = self._http.headers["Authorization"].removeprefix("Bearer ")
        return self._services, token, self._book, self.weather, self.rng.randrange(1 << 30)


class Reader(Client):
    """Somebody who reads cases over UPS-RS, gives some back, and forgets some."""

    def run(self) -> None:
        """Read until the storm is over."""
        while not self.weather.is_over.is_set():
            self.read_one()
            time.sleep(self.rng.uniform(0.0, 0.2))

    def read_one(self) -> None:
        """Claim a case and do something with it."""
        found = self.ask("GET", "/dicom-web/workitems?ProcedureStepState=SCHEDULED&limit=20", {200, 204})
        if found is None or found.status_code == 204:
            return
        uid = self.rng.choice(found.json())["00080018"]["Value"][0]
        lock = f"2.25.{self.rng.randrange(10**37)}"
        if not self._change(uid, "IN PROGRESS", lock):
            return
        self._book.count("cases claimed")
        luck = self.rng.random()
        if luck < 0.1:
            return  # the lease will end
        if luck < 0.2:
            self._book.count("cases given back", self._change(uid, "CANCELED", lock))
            return
        finding = self.rng.choice(list(Finding))
        body = result_dataset(Result(finding=finding, note="", confidence=Confidence.HIGH))
        path = f"/dicom-web/workitems/{uid}"
        given = self.ask(
            "POST", f"{path}?transaction-uid={lock}", {200, 400, 409}, json=body, headers={"Content-Type": _JSON}
        )
        if given is None or given.status_code != 200:
            return
        with self._book.lock:
            self._book.results[uid] = finding
        if self._change(uid, "COMPLETED", lock):
            with self._book.lock:
                self._book.finals[uid] = finding
            self._book.count("cases read")

    def _change(self, uid: str, state: str, lock: str) -> bool:
        body = {"00741000": {"vr": "CS", "Value": [state]}, "00081195": {"vr": "UI", "Value": [lock]}}
        path = f"/dicom-web/workitems/{uid}/state"
        answer = self.ask("PUT", path, {200, 400, 409}, json=body, headers={"Content-Type": _JSON})
        return answer is not None and answer.status_code == 200
