// Rates out of counters that only grow.

/**
 * Per second, between two readings. A counter can become smaller, since those of queues and groups are sums over the
 * ones that exist; then nothing is known and it counts as 0.
 */
export function rate(before: number, after: number, ms: number): number {
  return ms > 0 ? (Math.max(0, after - before) * 1000) / ms : 0;
}

/** Rates from reading to reading of one column; the first has no predecessor, and a gap stays one. */
export function rates(at_ms: readonly number[], counter: readonly (number | null)[]): (number | null)[] {
  return counter.map((now, index) => {
    const then = index > 0 ? counter[index - 1] : null;
    if (now === null || then === null || then === undefined) return null;
    return rate(then, now, at_ms[index]! - at_ms[index - 1]!);
  });
}
