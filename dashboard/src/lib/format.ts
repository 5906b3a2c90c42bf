// Numbers, sizes and times as people read them. Knows nothing of the page.

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** 12,345 */
export function whole(value: number): string {
  return Number.isFinite(value) ? grouped.format(value) : "–";
}

function scaled(value: number, step: number, units: readonly string[]): string {
  let rest = Math.abs(value);
  let unit = 0;
  // 999.95 would be shown as 1,000 of its unit, so the next one begins there.
  while (rest >= step * 0.99995 && unit < units.length - 1) {
    rest /= step;
    unit += 1;
  }
  const digits = unit === 0 ? (Number.isInteger(rest) ? 0 : 1) : rest < 10 ? 2 : rest < 100 ? 1 : 0;
  const text = rest.toFixed(digits);
  return `${value < 0 ? "−" : ""}${text}${units[unit] ? `\u00a0${units[unit]}` : ""}`;
}

/** 950, 12.3 k, 4.56 M: for cards and axes, where the last digit does not matter. */
export function compact(value: number): string {
  return Number.isFinite(value) ? scaled(value, 1000, ["", "k", "M", "G", "T"]) : "–";
}

/** 512 B, 1.50 KiB, 64.0 MiB */
export function bytes(value: number): string {
  return Number.isFinite(value) ? scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]) : "–";
}

/** 0/s, 0.4/s, 12.3 k/s */
export function perSecond(value: number): string {
  if (!Number.isFinite(value)) return "–";
  return `${value > 0 && value < 10 ? value.toFixed(1) : compact(Math.round(value))}/s`;
}

/** 0.35 ms, 12 ms, 1.5 s: for latencies. */
export function latency(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)}\u00a0s`;
  return `${ms < 10 && !Number.isInteger(ms) ? ms.toFixed(2) : ms.toFixed(0)}\u00a0ms`;
}

const SPANS: readonly (readonly [string, number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000],
];

/** 850 ms, 42 s, 3 min 5 s, 2 d 4 h: the two largest units. */
export function duration(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms < 1000) return `${Math.round(ms)}\u00a0ms`;
  const first = SPANS.findIndex(([, span]) => ms >= span);
  const [unit, span] = SPANS[first]!;
  const head = `${Math.floor(ms / span)}\u00a0${unit}`;
  const next = SPANS[first + 1];
  const tail = next ? Math.floor((ms % span) / next[1]) : 0;
  return next && tail > 0 ? `${head} ${tail}\u00a0${next[0]}` : head;
}

const TWO = (value: number): string => String(value).padStart(2, "0");

/** 2026-11-25 03:08:17 in the reader's zone. */
export function moment(ms: number): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return "–";
  return `${date.getFullYear()}-${TWO(date.getMonth() + 1)}-${TWO(date.getDate())} ${clock(ms)}`;
}

/** 03:08:17 in the reader's zone. */
export function clock(ms: number): string {
  const date = new Date(ms);
  return `${TWO(date.getHours())}:${TWO(date.getMinutes())}:${TWO(date.getSeconds())}`;
}

/** "1 message", "2 messages", with the count grouped. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${whole(count)} ${count === 1 ? one : many}`;
}
