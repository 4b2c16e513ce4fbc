"""Log lines: one of several well-known programs a document, its clock running on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

_UNITS = ("nginx", "postgres", "kernel", "sshd", "systemd", "kubelet", "dockerd", "cron", "postfix", "redis")
_HOSTS = ("web-03", "db01", "edge7", "build-agent", "node-a12", "gateway", "vm-4471", "raspberrypi")
_USERS = ("root", "deploy", "www-data", "backup", "jenkins", "svc_mail", "nobody")
_PATHS = (
    "/api/v2/orders",
    "/static/app.9f3c.js",
    "/login",
    "/healthz",
    "/img/logo.svg",
    "/wp-admin/setup.php",
    "/feed.xml",
    "/metrics",
    "/search?q=shoes&page=4",
)
_AGENTS = ("curl/8.5.0", "Googlebot/2.1", "Mozilla/5.0 (X11; Linux x86_64)", "kube-probe/1.29", "python-requests/2.31")
_KERNEL = (
    "eth0: link becomes ready",
    "usb 1-4: new high-speed USB device number {n} using xhci_hcd",
    "EXT4-fs (sda{d}): mounted filesystem with ordered data mode",
    "Out of memory: Killed process {n} (java)",
    'audit: type=1400 apparmor="DENIED" pid={n}',
    "CPU{d}: Core temperature above threshold, cpu clock throttled",
)
_DAEMON = (
    "Started Daily apt download activities.",
    "Accepted publickey for {u} from {ip} port {n} ssh2",
    "Failed password for invalid user {u} from {ip} port {n}",
    "session opened for user {u} by (uid=0)",
    "({u}) CMD (/usr/bin/find /tmp -mtime +{d} -delete)",
    "checkpoint complete: wrote {n} buffers ({d}.{d}%)",
    "Back-off restarting failed container in pod {h}",
    "connect from unknown[{ip}]",
    "Reloading configuration.",
)
_JAVA = (
    "o.s.b.w.embedded.tomcat.TomcatWebServer : Tomcat started on port(s): {n}",
    "c.z.h.HikariPool : HikariPool-{d} - Thread starvation or clock leap detected",
    "o.a.k.clients.NetworkClient : Node -{d} disconnected.",
    "o.h.engine.jdbc.spi.SqlExceptionHelper : SQL Error: {n}, SQLState: 40001",
    "io.netty.channel.DefaultChannelPipeline : An exceptionCaught() event was fired",
)
_BUILD = (
    "Compiling serde v1.0.{n}",
    "Downloading torch-{d}.{d}.{d}-cp311-linux_x86_64.whl ({n} MB)",
    "npm WARN deprecated rimraf@{d}.{d}.{d}",
    "CC      drivers/net/phy/mdio.o",
    "make[{d}]: Leaving directory '/build/src'",
    "Step {d}/{n} : RUN apt-get update",
    "remote: Counting objects: 100% ({n}/{n}), done.",
    "collected {n} items / {d} deselected",
)


def _ip(rng: random.Random) -> str:
    return ".".join(str(rng.randint(1, 254)) for _ in range(4))


def _message(rng: random.Random, messages: tuple[str, ...]) -> str:
    text = rng.choice(messages)
    return (
        text.replace("{n}", str(rng.randint(100, 65000)))
        .replace("{d}", str(rng.randint(1, 9)))
        .replace("{u}", rng.choice(_USERS))
        .replace("{h}", rng.choice(_HOSTS))
        .replace("{ip}", _ip(rng))
    )


def _syslog(rng: random.Random, clock: datetime, host: str) -> str:
    unit = rng.choice(_UNITS)
    stamp = clock.strftime("%b %d %H:%M:%S")
    message = _message(rng, _KERNEL if unit == "kernel" else _DAEMON)
    return f"{stamp} {host} {unit}[{rng.randint(300, 32000)}]: {message}"


def _access(rng: random.Random, clock: datetime, host: str) -> str:
    verb = rng.choice(("GET", "GET", "GET", "POST", "OPTIONS", "DELETE"))
    status = rng.choice((200, 200, 200, 204, 301, 304, 404, 499, 502))
    stamp = clock.strftime("%d/%b/%Y:%H:%M:%S +0000")
    head = f'{_ip(rng)} - {rng.choice(("-", *_USERS))} [{stamp}] "{verb} {rng.choice(_PATHS)} HTTP/2.0"'
    return f'{head} {status} {rng.randint(0, 90000)} "-" "{rng.choice(_AGENTS)}" rt={rng.random():.3f}'


def _spring(rng: random.Random, clock: datetime, host: str) -> str:
    level = rng.choice((" INFO", " INFO", " WARN", "ERROR"))
    stamp = clock.isoformat(timespec="milliseconds")
    return f"{stamp}Z {level} {rng.randint(1, 9)} --- [nio-8080-exec-{rng.randint(1, 20)}] {_message(rng, _JAVA)}"


def _klog(rng: random.Random, clock: datetime, host: str) -> str:
    source = rng.choice(("reconciler.go", "proxier.go", "pod_workers.go", "scheduler.go"))
    head = f"{rng.choice('IWE')}{clock.strftime('%m%d %H:%M:%S.%f')} {rng.randint(1, 9999):7d} {source}"
    return f'{head}:{rng.randint(20, 999)}] "{rng.choice(("SyncLoop UPDATE", "Observed pod startup"))}" pod="{host}"'


def _build(rng: random.Random, clock: datetime, host: str) -> str:
    return f"{clock.strftime('%H:%M:%S.%f')[:-3]} #{rng.randint(4, 30)} {_message(rng, _BUILD)}"


PROGRAMS: tuple[Callable[[random.Random, datetime, str], str], ...] = (_syslog, _access, _spring, _klog, _build)


def log_lines(rng: random.Random) -> Iterator[str]:
    """The log of one machine and, mostly, one program."""
    program, host = rng.choice(PROGRAMS), rng.choice(_HOSTS)
    clock = datetime(2019, 1, 1) + timedelta(seconds=rng.randrange(200_000_000))
    while True:
        clock += timedelta(seconds=rng.expovariate(0.2))
        yield program(rng, clock, host)
