// Readings over time, in columns as the API gives them: what the charts are drawn from.

/** Name of a series to its values; `at` is when. All columns are equally long. */
export type Columns = Record<string, (number | null)[]>;

/** Every number of a document by its path: {"memory": {"rss_bytes": 5}} → {"memory.rss_bytes": 5}. */
export function flatten(document: object, prefix = ""): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [name, value] of Object.entries(document)) {
    if (typeof value === "number") found[prefix + name] = value;
    else if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      Object.assign(found, flatten(value as object, `${prefix}${name}.`));
    }
  }
  return found;
}

/**
 * Adds a reading. The last row is provisional: it is replaced until it is `interval_ms` away from the one before,
 * so that a chart moves each second and grows with each interval. Rows older than `window_ms` go.
 */
export function append(
  columns: Columns,
  at_ms: number,
  values: Record<string, number>,
  interval_ms: number,
  window_ms: number,
): Columns {
  const at = columns["at"] ?? [];
  const rows = at.length;
  const last = at[rows - 1] ?? -Infinity;
  if (at_ms <= last) return columns;
  const before = at[rows - 2] ?? -Infinity;
  // A little early still counts as the interval: timers are not exact.
  const keep = rows >= 2 && last - before < interval_ms * 0.9 ? rows - 1 : rows;
  let first = 0;
  while (first < keep && at[first]! < at_ms - window_ms) first += 1;
  const next: Columns = {};
  for (const name of new Set(["at", ...Object.keys(columns), ...Object.keys(values)])) {
    const column = columns[name];
    const kept = column ? column.slice(first, keep) : new Array<null>(keep - first).fill(null);
    kept.push(name === "at" ? at_ms : (values[name] ?? null));
    next[name] = kept;
  }
  return next;
}
