// Dead letters put back, portion by portion, so that one sees how far it is and can stop.
import { useRef, useState } from "preact/hooks";
import { address, get, post, sentence } from "../lib/api";
import { whole } from "../lib/format";
import type { Page, QueueMessage } from "../lib/types";
import { Dialog } from "../ui/dialog";
import { notify } from "../ui/notice";
import { Field, Problem } from "../ui/parts";

const LOOKED_AT = 1_000;
const PUT_BACK = 500;

interface Props {
  queue: string;
  count: number;
  onClose: () => void;
  onChanged: () => void;
}

export function RedriveDialog({ queue, count, onClose, onChanged }: Props) {
  const [reason, setReason] = useState("");
  const [progress, setProgress] = useState({ text: "", done: 0, of: 1 });
  const [state, setState] = useState<"asking" | "running" | "done">("asking");
  const [error, setError] = useState<string | null>(null);
  const stopped = useRef(false);

  /** Ids of what there is now, before any is put back: what dies meanwhile does not go round in a circle. */
  const find = async (): Promise<number[]> => {
    const ids: number[] = [];
    let seen = 0;
    let after: string | null = null;
    do {
      const query = { state: "dead", after, limit: LOOKED_AT, value_bytes_max: 1 };
      const page: Page<QueueMessage> = await get(address(["queues", queue, "messages"], query));
      for (const letter of page.items) if (letter.reason.includes(reason)) ids.push(letter.id);
      seen += page.items.length;
      setProgress({
        text: `Looked at ${whole(seen)} of ${whole(count)}.`,
        done: seen,
        of: Math.max(seen, count),
      });
      after = page.next;
    } while (after !== null && !stopped.current);
    return ids;
  };

  const run = async (): Promise<void> => {
    setState("running");
    let moved = 0;
    try {
      const ids = await find();
      for (let from = 0; from < ids.length && !stopped.current; from += PUT_BACK) {
        const portion = ids.slice(from, from + PUT_BACK);
        moved += (await post<{ moved: number }>(address(["queues", queue, "redrive"]), { ids: portion }))
          .moved;
        const text = `Put back ${whole(moved)} of ${whole(ids.length)}.`;
        setProgress({ text, done: from + portion.length, of: ids.length });
      }
      if (ids.length === 0) setProgress({ text: "None of them has this in its reason.", done: 1, of: 1 });
    } catch (problem) {
      setError(sentence(problem));
    }
    setState("done");
    notify(`Put back ${whole(moved)} dead letters of ${queue}`);
    onChanged();
  };
  const close = (): void => {
    stopped.current = true;
    onClose();
  };
  return (
    <Dialog title={`Redrive the dead letters of ${queue}`} onClose={close}>
      {state === "asking" && (
        <>
          <p>
            {whole(count)} dead letters go back to the end of the queue as new messages, without attempts.
            Consumers get them at once.
          </p>
          <Field label="Only with this in the reason (empty: all)" value={reason} onInput={setReason} />
        </>
      )}
      {state !== "asking" && (
        <>
          <progress max={progress.of} value={progress.done} aria-label="How far it is" />
          <p role="status">{progress.text}</p>
        </>
      )}
      <Problem text={error} />
      <footer>
        <button type="button" onClick={close}>
          {state === "running" ? "Stop" : state === "done" ? "Close" : "Cancel"}
        </button>
        {state === "asking" && (
          <button type="button" class="primary" onClick={() => void run()}>
            Redrive
          </button>
        )}
      </footer>
    </Dialog>
  );
}
