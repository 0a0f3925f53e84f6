"""A program that enqueues and runs its own jobs, in one process, over a SQLite file.

Run it twice: jobs that one run leaves behind are done by the next.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from treadle import CONTEXT, Context, Treadle

app = Treadle("sqlite:///embedded.db")


@app.task(retry=3, timeout="1m", tags=["text"])
def count_words(path: Path) -> dict[str, int]:
    """A plain function: it runs in a thread."""
    counts: dict[str, int] = {}
    for word in path.read_text().split():
        counts[word] = counts.get(word, 0) + 1
    return counts


@app.task
async def report(folder: Path, ctx: Context = CONTEXT) -> str:
    """A coroutine: it runs in the event loop, and says how far it is."""
    files = sorted(folder.glob("*.txt"))
    lines: list[str] = []
    for done, file in enumerate(files, 1):
        lines.append(f"{file.name}: {file.stat().st_size} bytes")
        ctx.progress(done, len(files), file.name)
    return "\n".join(lines)


async def main() -> None:
    """Write some files, count their words, report on them."""
    folder = Path("texts")
    folder.mkdir(exist_ok=True)
    for name, text in {"a.txt": "to be or not to be", "b.txt": "that is the question"}.items():
        (folder / name).write_text(text)

    async with app, app.foreman(concurrency=20):
        jobs = await count_words.aenqueue_many([(file,) for file in sorted(folder.glob("*.txt"))])
        for job in jobs:
            print(await job.aresult(timeout=30))

        job = await report.aenqueue(folder)
        async for update in job.aprogress():
            print(f"{update.current:.0f}/{update.total:.0f} {update.message}")
        print(await job.aresult(timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
