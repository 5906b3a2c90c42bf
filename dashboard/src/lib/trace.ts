// Readings of one queue or stream while somebody looks at it: the server keeps a history of the whole only.
import { type Columns, append, flatten } from "./history";
import { rate } from "./rates";

const TRACES_MAX = 1_100; // a page of the list and what was opened from it
const WINDOW_MS = 3_600_000;
const ROWS_MAX = 1_800;
const traces = new Map<string, Columns>();

/** Adds the numbers of a document, read at `at_ms`, to the trace of a thing and returns it. The oldest traces go. */
export function trace(thing: string, at_ms: number, document: object): Columns {
  const columns = append(traces.get(thing) ?? {}, at_ms, flatten(document), WINDOW_MS / ROWS_MAX, WINDOW_MS);
  traces.delete(thing);
  traces.set(thing, columns);
  const oldest = traces.keys().next();
  if (traces.size > TRACES_MAX && !oldest.done) traces.delete(oldest.value);
  return columns;
}

/** Per second, between the last two readings; NaN before there are two. */
export function latestRate(columns: Columns, counter: string): number {
  const at = columns["at"] ?? [];
  const values = columns[counter] ?? [];
  const last = at.length - 1;
  const [before, now] = [values[last - 1], values[last]];
  if (last < 1 || typeof before !== "number" || typeof now !== "number") return NaN;
  return rate(before, now, at[last]! - at[last - 1]!);
}
