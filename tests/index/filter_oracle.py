"""What a filter means, in plain Python, written from the documentation of `compile_filter` and not from its code."""

COMPARISONS = {
    "$gt": lambda value, operand: value > operand,
    "$gte": lambda value, operand: value >= operand,
    "$lt": lambda value, operand: value < operand,
    "$lte": lambda value, operand: value <= operand,
}


def kind(value):
    if isinstance(value, bool) or value is None or isinstance(value, (str, list, dict)):
        return type(value).__name__
    return "number"


def equal(value, operand):
    return kind(value) == kind(operand) and kind(value) not in ("list", "dict") and value == operand


def matches(filter, metadata):
    """Whether a document with this metadata is let through."""
    return all(_entry(key, value, metadata) for key, value in filter.items())


def _entry(key, value, metadata):
    if key == "$and":
        return all(matches(part, metadata) for part in value)
    if key == "$or":
        return any(matches(part, metadata) for part in value)
    if key == "$not":
        return not matches(value, metadata)
    return _condition(value if isinstance(value, dict) else {"$eq": value}, key, metadata)


def _condition(condition, key, metadata):
    return all(_operator(operator, operand, key, metadata) for operator, operand in condition.items())


def values_at(key, metadata):
    """The values that a key stands for: its own, and one inside of objects where the key is a path."""
    found = [metadata[key]] if key in metadata else []
    path = key.split(".")
    if len(path) > 1:
        value = metadata
        for part in path:
            if not isinstance(value, dict) or part not in value:
                return found
            value = value[part]
        found.append(value)
    return found


def _operator(operator, operand, key, metadata):
    values = values_at(key, metadata)
    if operator == "$not":
        return not _condition(operand, key, metadata)
    if operator == "$ne":
        return not _operator("$eq", operand, key, metadata)
    if operator == "$nin":
        return not _operator("$in", operand, key, metadata)
    if operator == "$exists":
        return bool(values) == operand
    if operator == "$empty":
        return all(value is None or value in ("", []) for value in values) == operand
    return any(_holds(operator, operand, value) for value in values)


def _holds(operator, operand, value):
    if operator == "$eq":
        return equal(value, operand)
    if operator == "$in":
        return any(equal(value, one) for one in operand)
    if operator in COMPARISONS:
        return kind(value) == kind(operand) and COMPARISONS[operator](value, operand)
    if operator in ("$any", "$all"):
        found = [any(equal(element, one) for element in value) for one in operand] if isinstance(value, list) else None
        return found is not None and (any(found) if operator == "$any" else all(found))
    if operator == "$substring":
        return isinstance(value, str) and operand in value
    assert operator == "$isubstring"
    return isinstance(value, str) and operand.casefold() in value.casefold()
