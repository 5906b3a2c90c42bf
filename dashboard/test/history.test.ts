import { describe, expect, it } from "vitest";
import { type Columns, append, flatten } from "../src/lib/history";
import { rate, rates } from "../src/lib/rates";
import { latestRate, trace } from "../src/lib/trace";

describe("rates", () => {
  it("are differences a second", () => expect(rate(100, 150, 5_000)).toBe(10));
  it("of a counter that became smaller are 0", () => expect(rate(100, 10, 1_000)).toBe(0));
  it("of no time are 0", () => expect(rate(1, 2, 0)).toBe(0));
  it("have gaps where readings have, and none at the start", () =>
    expect(rates([0, 1000, 2000, 3000], [0, 5, null, 9])).toEqual([null, 5, null, null]));
});

describe("history", () => {
  it("names numbers by their path", () =>
    expect(flatten({ at: 1, loop: { lag_ms: 0.5, state: "ok" }, alarms: [{ a: 1 }], x: null })).toEqual({
      at: 1,
      "loop.lag_ms": 0.5,
    }));

  const read = (times: number[], window_ms = 60_000): Columns =>
    times.reduce<Columns>((columns, at) => append(columns, at, { n: at / 1000 }, 5_000, window_ms), {});

  it("replaces its last row until the interval is over", () => {
    const columns = read([0, 1000, 2000, 3000, 4000, 5000, 6000, 7000]);
    expect(columns["at"]).toEqual([0, 5000, 7000]);
    expect(columns["n"]).toEqual([0, 5, 7]);
  });

  it("forgets what is older than the window", () =>
    expect(read([0, 5000, 10_000, 15_000], 10_000)["at"]).toEqual([5000, 10_000, 15_000]));

  it("ignores a reading that is not newer", () =>
    expect(read([0, 5000, 5000, 4000])["at"]).toEqual([0, 5000]));

  it("fills a series that begins later or ends earlier with nothing", () => {
    const columns = append(append({}, 0, { a: 1 }, 0, 1e9), 5000, { b: 2 }, 0, 1e9);
    expect(columns).toEqual({ at: [0, 5000], a: [1, null], b: [null, 2] });
  });
});

describe("traces", () => {
  it("give the rate between the last two readings", () => {
    expect(latestRate(trace("queue a", 0, { pushed: 10 }), "pushed")).toBeNaN();
    expect(latestRate(trace("queue a", 2000, { pushed: 30 }), "pushed")).toBe(10);
    expect(latestRate(trace("queue a", 4000, { pushed: 30 }), "nothing")).toBeNaN();
  });
});
