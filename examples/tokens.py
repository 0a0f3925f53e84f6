"""A client of a language model: so many tokens a second, so many requests at a time.

What a request will cost is known only when the answer is there. So an estimate is reserved, and
the real cost settled: what was not used goes back at once, what was used beyond is waited for by
those that come later. The model is played by a function of this file.
"""

from __future__ import annotations

import asyncio

from treadle import LimitSet, Rate, RetryLater, Slots, Worker, agather

TOKENS = 2000  # a second, and at once after a rest
AT_A_TIME = 4
ANSWER = 400  # tokens that an answer has at the most


class Overloaded(RetryLater):
    """The model has other things to do: another attempt, a little later."""


class Answer:
    """What the model says, and what it cost."""

    def __init__(self, text: str, tokens: int) -> None:
        self.text = text
        self.tokens = tokens


class Model:
    """A service far away."""

    def __init__(self) -> None:
        self.requests = 0
        self.busy = 0
        self.most = 0

    async def complete(self, prompt: str) -> Answer:
        """An answer, which most of the time is shorter than it may be."""
        self.requests += 1
        if self.requests % 10 == 0:
            raise Overloaded("try again", delay=0.05)
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(0.02)
        self.busy -= 1
        words = prompt.split()
        return Answer(" ".join(reversed(words)), tokens=len(words) + ANSWER // 4)


class Client(Worker, mode="asyncio", retry=5, timeout="30s"):
    """Its calls overlap, as far as the limits let them."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.spent = 0

    async def ask(self, prompt: str) -> str:
        """An answer."""
        estimate = len(prompt.split()) + ANSWER
        async with self.limits.aacquire({"tokens": estimate}) as got:
            got.update({"tokens": 0})  # unless there is an answer
            answer = await self.model.complete(prompt)
            got.update({"tokens": answer.tokens})
        self.spent += answer.tokens
        return answer.text


async def main() -> None:
    """Forty questions, for which the estimates alone would take eight seconds."""
    model = Model()
    limits = LimitSet(
        Rate(TOKENS, per="1s", key="tokens", cost=0), Slots(AT_A_TIME, key="requests")
    )
    async with Client.options(limits=limits).init(model) as client:
        asked = {n: client.call(Client.ask, f"what is the number {n}") for n in range(40)}
        answers = await agather(asked, timeout=20)
        spent = await client.call(_spent)

    print(f"{len(answers)} answers, {model.requests} requests, at most {model.most} at a time")
    print(f"{spent} tokens spent where {40 * ANSWER} were reserved")
    assert answers[7] == "7 number the is what"
    assert model.most <= AT_A_TIME


def _spent(client: Client) -> int:
    return client.spent


if __name__ == "__main__":
    asyncio.run(main())
