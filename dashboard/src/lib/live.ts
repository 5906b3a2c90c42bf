// The overview, live: one stream of events for the whole page, and the last hour behind it.
import { useEffect, useState } from "preact/hooks";
import { address, get } from "./api";
import { type Columns, append, flatten } from "./history";
import { type Listening, listen } from "./listen";
import { rate } from "./rates";
import type { Overview } from "./types";

const WINDOW_MS = 3_600_000;
const SILENCE_MS = 6_000;
/** Rates on the page are means over so many seconds: a single one flickers. */
const RATE_MS = 3_000;

export interface Live {
  /** null until the first event. */
  overview: Overview | null;
  /** null until it is known; false: the broker is gone. */
  connected: boolean | null;
  /** Since when it is gone, by this computer's clock. */
  lost_at: number;
  history: Columns;
  /** Counter per second, over the last seconds. */
  rate: (counter: string) => number;
  /** Server's clock minus ours. */
  ahead_ms: number;
}

interface Reading {
  at: number;
  values: Record<string, number>;
}

let state: Live = { overview: null, connected: null, lost_at: 0, history: {}, rate: () => NaN, ahead_ms: 0 };
let recent: Reading[] = [];
let interval_ms = 5_000;
let listening: Listening | undefined;
const readers = new Set<() => void>();

function change(next: Partial<Live>): void {
  state = { ...state, ...next };
  readers.forEach((read) => read());
}

async function loadHistory(): Promise<void> {
  try {
    const answer = await get<{ interval_ms: number; series: Columns }>(address(["overview", "history"]));
    interval_ms = answer.interval_ms;
    change({ history: answer.series });
  } catch {
    // The stream of events tells that the broker is gone, and asks again when it is back.
  }
}

function take(overview: Overview): void {
  const values = flatten(overview);
  const restarted = state.overview !== null && state.overview.started_at !== overview.started_at;
  if (restarted) recent = [];
  recent = [...recent.filter((reading) => reading.at >= overview.at - RATE_MS), { at: overview.at, values }];
  const first = recent[0]!;
  change({
    overview,
    connected: true,
    ahead_ms: overview.at - Date.now(),
    history: append(state.history, overview.at, values, interval_ms, WINDOW_MS),
    rate: (counter) =>
      recent.length < 2
        ? NaN
        : rate(first.values[counter] ?? 0, values[counter] ?? 0, overview.at - first.at),
  });
}

function start(): void {
  listening?.close();
  recent = [];
  listening = listen({
    url: () => address(["events"]),
    events: { overview: (data) => take(data as Overview) },
    connected: (connected) => {
      if (connected) void loadHistory();
      else if (state.connected !== false) change({ connected: false, lost_at: Date.now() });
    },
    silence_ms: SILENCE_MS,
  });
}

/** Begins to listen. A hidden page does not: a browser has few connections for one server. */
export function startLive(): void {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      listening?.close();
      listening = undefined;
    } else if (listening === undefined) {
      start();
    }
  });
  start();
}

export function useLive(): Live {
  const [, redraw] = useState(0);
  useEffect(() => {
    const read = (): void => redraw((count) => count + 1);
    readers.add(read);
    return () => void readers.delete(read);
  }, []);
  return state;
}

/** The server's time, in ms. */
export function serverNow(): number {
  return Date.now() + state.ahead_ms;
}

export function isGone(): boolean {
  return state.connected === false;
}
