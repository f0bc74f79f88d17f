from experiments.publish import Results


def write_report(results: Results) -> None: ...
