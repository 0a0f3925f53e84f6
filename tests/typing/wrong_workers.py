"""What users get wrong with workers: each line with the mark has to be refused by both checkers."""

from __future__ import annotations

from treadle import Pool, Worker


class Model(Worker):
    def predict(self, text: str) -> float:
        return float(len(text))


class Other(Worker):
    def run(self) -> None: ...


class Misspelt(Worker, max_worker=4):  # wrong
    pass


class Impossible(Worker, mode="threads"):  # wrong
    pass


Model.options(max_worker=4)  # wrong
Model.options(mode="threads")  # wrong
Model.options(balancing="least-active")  # wrong
Model.options(on_full="block")  # wrong
Pool("threads")  # wrong

with Model.init() as model:
    model.call(Model.predict)  # wrong
    model.call(Model.predict, 3)  # wrong
    model.call(Model.predict, "text", scale=2)  # wrong
    model.call(Other.run)  # wrong
    number: int = model.call(Model.predict, "text").result()  # wrong
    model.resize("4")  # wrong
    model.restart("first")  # wrong

with Pool("thread") as pool:
    pool.submit(len, 3)  # wrong
    pool.submit(len)  # wrong
