// Asking the broker again and again, page by page.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { get, sentence } from "./api";
import { isGone, useLive } from "./live";
import type { Page } from "./types";

export interface Polled<T> {
  data: T | null;
  /** When it was read, by this computer's clock. */
  read_ms: number;
  error: string | null;
  reload: () => void;
}

/** The answer of `url`, asked again each `every_ms` (0: only on reload) while the page is seen and the broker there. */
export function usePolled<T>(url: string | null, every_ms: number): Polled<T> {
  const [data, setData] = useState<{ url: string; value: T; read_ms: number } | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [asked, setAsked] = useState(0);
  const gone = useLive().connected === false;
  const reload = useCallback(() => setAsked((count) => count + 1), []);
  useEffect(() => {
    if (url === null || gone) return undefined;
    let current = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const again = (): void => {
      if (current && every_ms > 0) timer = setTimeout(ask, every_ms);
    };
    const ask = (): void => {
      if (every_ms > 0 && (document.hidden || isGone())) return again();
      get<T>(url)
        .then((value) => {
          if (!current) return;
          setData({ url, value, read_ms: Date.now() });
          setError(null);
        })
        .catch((problem: unknown) => {
          if (current) setError(sentence(problem));
        })
        .finally(again);
    };
    setError(null);
    ask();
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [url, every_ms, asked, gone]);
  const current = data !== null && data.url === url ? data : null;
  return { data: current?.value ?? null, read_ms: current?.read_ms ?? 0, error, reload };
}

export interface Paged<T, P extends Page<T>> extends Polled<P> {
  /** From 1. */
  number: number;
  older: (() => void) | null;
  newer: (() => void) | null;
  first: () => void;
}

/** A list of the server, a page at a time. `url` makes the address of the page after a cursor. */
export function usePages<T, P extends Page<T> = Page<T>>(
  url: (after: string | undefined) => string | null,
  every_ms: number,
): Paged<T, P> {
  const start = url(undefined);
  // Cursors of the pages before this one belong to one list; another list begins at its first page.
  const [trail, setTrail] = useState<{ start: string | null; cursors: string[] }>({ start, cursors: [] });
  const cursors = trail.start === start ? trail.cursors : [];
  const at = cursors[cursors.length - 1];
  const polled = usePolled<P>(at === undefined ? start : url(at), every_ms);
  // The page that was there stays until the next one is: a table must not collapse between two.
  const shown = useRef<{ start: string | null; page: P | null }>({ start: null, page: null });
  if (polled.data !== null) shown.current = { start, page: polled.data };
  const page = shown.current.start === start ? shown.current.page : null;
  const next = polled.data?.next ?? null;
  return {
    ...polled,
    data: page,
    number: cursors.length + 1,
    older: next === null ? null : () => setTrail({ start, cursors: [...cursors, next] }),
    newer: cursors.length === 0 ? null : () => setTrail({ start, cursors: cursors.slice(0, -1) }),
    first: () => setTrail({ start, cursors: [] }),
  };
}

/** Redraws each `ms`, for what counts down. */
export function useTick(ms: number): void {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((count) => count + 1), ms);
    return () => clearInterval(timer);
  }, [ms]);
}

/** A text that follows what is typed after a pause. */
export function useSettled(text: string, ms = 250): string {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), ms);
    return () => clearTimeout(timer);
  }, [text, ms]);
  return settled;
}
