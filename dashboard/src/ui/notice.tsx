// Short messages about what was done, told to screen readers, too.
import { useEffect, useState } from "preact/hooks";

interface Notice {
  id: number;
  text: string;
  bad: boolean;
}

const SHOWN_MS = 5_000;
let notices: Notice[] = [];
let last = 0;
let redraw: (() => void) | undefined;

function set(next: Notice[]): void {
  notices = next;
  redraw?.();
}

export function notify(text: string, bad = false): void {
  last += 1;
  const id = last;
  set([...notices, { id, text, bad }]);
  setTimeout(() => set(notices.filter((notice) => notice.id !== id)), bad ? SHOWN_MS * 2 : SHOWN_MS);
}

export function Notices() {
  const [, bump] = useState(0);
  useEffect(() => {
    redraw = () => bump((count) => count + 1);
    return () => {
      redraw = undefined;
    };
  }, []);
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.map((notice) => (
        <div key={notice.id} class={notice.bad ? "notice bad" : "notice"}>
          {notice.text}
          <button
            type="button"
            class="plain"
            aria-label="Dismiss"
            onClick={() => set(notices.filter(({ id }) => id !== notice.id))}
          >
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
