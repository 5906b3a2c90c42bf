// Messages as they come, the newest first. What comes in one frame of the screen is drawn together.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { refusal } from "../lib/api";
import { counted, whole } from "../lib/format";
import { listen } from "../lib/listen";
import { Problem } from "./parts";

const SHOWN_MAX = 500;

interface Props<T> {
  /** The address to listen at, given what came last before a connection was lost. */
  url: (last: T | null) => string;
  event: "message" | "record";
  row: (item: T) => ComponentChildren;
  noun: string;
  onEnd?: (reason: string) => void;
}

interface Seen<T> {
  items: { number: number; item: T }[];
  count: number;
  dropped: number;
}

export function Tail<T>({ url, event, row, noun, onEnd }: Props<T>) {
  const [seen, setSeen] = useState<Seen<T>>({ items: [], count: 0, dropped: 0 });
  const [connected, setConnected] = useState(false);
  const [refused, setRefused] = useState<string | null>(null);
  const [held, setHeld] = useState(false);
  const waiting = useRef<T[]>([]);
  const holding = useRef(false);
  holding.current = held;

  useEffect(() => {
    let last: T | null = null;
    let frame = 0;
    let number = 0;
    let dropped = 0;
    const draw = (): void => {
      frame = 0;
      if (holding.current) return;
      const items = waiting.current.map((item, index) => ({
        number: number - waiting.current.length + index,
        item,
      }));
      waiting.current = [];
      setSeen((before) => ({
        items: [...items.reverse(), ...before.items].slice(0, SHOWN_MAX),
        count: number,
        dropped,
      }));
    };
    const soon = (): void => {
      if (frame === 0) frame = requestAnimationFrame(draw);
    };
    const explain = async (): Promise<void> => {
      const reason = await refusal(url(last));
      if (reason === null) return;
      listening.close();
      setRefused(reason);
    };
    const listening = listen({
      url: () => url(last),
      connected: (there) => {
        setConnected(there);
        if (!there && last === null) void explain();
      },
      events: {
        [event]: (data) => {
          last = data as T;
          number += 1;
          waiting.current.push(last);
          // More than is ever shown need not be kept: a hidden page draws no frames.
          if (waiting.current.length > SHOWN_MAX) waiting.current.shift();
          soon();
        },
        dropped: (data) => {
          dropped += (data as { messages: number }).messages;
          soon();
        },
        end: (data) => {
          listening.close();
          onEnd?.((data as { reason: string }).reason);
        },
      },
    });
    return () => {
      listening.close();
      cancelAnimationFrame(frame);
      waiting.current = [];
    };
  }, []);

  if (refused !== null) return <Problem text={refused} />;
  return (
    <>
      <div class="buttons" role="group" aria-label="Live view">
        <span role="status" class={connected ? "good" : "muted"}>
          {connected ? "Listening" : "Connecting …"}
        </span>
        <span class="muted">
          {counted(seen.count, noun)}
          {seen.count > SHOWN_MAX && `, the last ${SHOWN_MAX} shown`}
        </span>
        {seen.dropped > 0 && <b class="warn">{whole(seen.dropped)} dropped: too fast for this page</b>}
        <button type="button" aria-pressed={held} onClick={() => setHeld(!held)}>
          {held ? "Go on" : "Hold"}
        </button>
        <button type="button" onClick={() => setSeen({ ...seen, items: [] })}>
          Clear
        </button>
      </div>
      <div class="messages">
        {seen.items.map(({ number, item }) => (
          <div key={number}>{row(item)}</div>
        ))}
      </div>
    </>
  );
}
