// Server-sent events that come back by themselves: after an error or a silence the address is opened again.
import { parseJson } from "./json";

const RETRY_MS = 2_000;

export interface Listening {
  close(): void;
}

export interface Options {
  /** Asked each time, so that a stream can go on where it was. */
  url: () => string;
  /** Name of an event to what is done with its data. */
  events: Record<string, (data: unknown) => void>;
  /** Told when the connection is there, and when it is gone. */
  connected?: (connected: boolean) => void;
  /** Silence after which the connection counts as gone; for streams that promise an event each second. */
  silence_ms?: number;
}

export function listen({ url, events, connected, silence_ms }: Options): Listening {
  let source: EventSource | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let watchdog: ReturnType<typeof setTimeout> | undefined;

  const lost = (): void => {
    source?.close();
    clearTimeout(watchdog);
    clearTimeout(retry);
    connected?.(false);
    retry = setTimeout(open, RETRY_MS);
  };
  const heard = (): void => {
    if (silence_ms === undefined) return;
    clearTimeout(watchdog);
    watchdog = setTimeout(lost, silence_ms);
  };
  const open = (): void => {
    const opened = new EventSource(url());
    source = opened;
    heard();
    opened.onopen = () => connected?.(true);
    opened.onerror = lost;
    for (const [name, handle] of Object.entries(events)) {
      opened.addEventListener(name, (event) => {
        heard();
        handle(parseJson((event as MessageEvent<string>).data));
      });
    }
  };
  open();
  return {
    close: () => {
      source?.close();
      clearTimeout(retry);
      clearTimeout(watchdog);
    },
  };
}
