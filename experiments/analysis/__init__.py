"""From rows to conclusions: answers, lessons, advice, comparisons, the verdict."""
