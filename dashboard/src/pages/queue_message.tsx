// One message of a queue: looked at whole, edited and pushed again, put back or removed.
import { useState } from "preact/hooks";
import { address, post, remove, send, sentence } from "../lib/api";
import { moment } from "../lib/format";
import { usePolled } from "../lib/hooks";
import type { QueueMessage, ValueType } from "../lib/types";
import { editable, headerLines, isLine, typedHeaders, typedValue, withValue } from "../lib/value";
import { Dialog, FormDialog } from "../ui/dialog";
import { notify } from "../ui/notice";
import { Check, Field, Problem } from "../ui/parts";
import { Headers, HeadersEditor, ValueEditor, ValueView } from "../ui/value";

interface PushProps {
  queue: string;
  /** What the form begins with. */
  from?: QueueMessage;
  onClose: () => void;
  onPushed: () => void;
}

export function PushDialog({ queue, from, onClose, onPushed }: PushProps) {
  const [type, setType] = useState<ValueType>(from?.type ?? "json");
  const [text, setText] = useState(from ? editable(from) : "");
  const [headers, setHeaders] = useState(from ? headerLines(from.headers) : "");
  const [priority, setPriority] = useState(String(from?.priority ?? 0));
  const [delay, setDelay] = useState("0");
  const [group, setGroup] = useState(from?.group ?? "");
  const [replace, setReplace] = useState(false);
  const kept = from?.headers.filter((header) => !isLine(header)) ?? [];
  const run = async (): Promise<void> => {
    const fields = {
      priority: Number(priority),
      delay_ms: Math.round(Number(delay) * 1000),
      headers: [...typedHeaders(headers), ...kept],
      ...(group === "" ? {} : { group }),
    };
    const message = withValue(fields, type, typedValue(type, text));
    const answer = await send<{ messages: { id: number }[] }>(
      "POST",
      address(["queues", queue, "messages"]),
      `{"messages":[${message}]}`,
    );
    notify(`Pushed as ${answer.messages[0]?.id ?? "?"}`);
    if (replace && from) {
      try {
        await remove(address(["queues", queue, "messages", from.id]));
      } catch (problem) {
        // The new one is there: the dialog closes, so that it is not pushed twice.
        notify(`Message ${from.id} was not removed: ${sentence(problem)}`, true);
      }
    }
    onPushed();
  };
  return (
    <FormDialog
      title={from ? `Push ${from.id} again` : `Push to ${queue}`}
      wide
      action="Push"
      onClose={onClose}
      run={run}
    >
      <ValueEditor type={type} text={text} onType={setType} onText={setText} />
      <HeadersEditor text={headers} onText={setHeaders} />
      {kept.length > 0 && (
        <p class="muted">
          Headers that are not one line of text go with it: {kept.map(({ name }) => name).join(", ")}.
        </p>
      )}
      <div class="fields">
        <Field label="Priority (0–255)" type="number" value={priority} onInput={setPriority} />
        <Field label="Delay in seconds" type="number" value={delay} onInput={setDelay} />
        <Field label="Group" value={group} onInput={setGroup} />
      </div>
      {from && <Check label={`Then remove message ${from.id}`} value={replace} onChange={setReplace} />}
    </FormDialog>
  );
}

interface Props {
  queue: string;
  id: number;
  onClose: () => void;
  onChanged: () => void;
}

export function MessageDialog({ queue, id, onClose, onChanged }: Props) {
  const where = address(["queues", queue, "messages", id]);
  const { data: message, error } = usePolled<QueueMessage>(where, 0);
  const [editing, setEditing] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const act = async (done: string, action: () => Promise<unknown>): Promise<void> => {
    try {
      await action();
      notify(done);
      onChanged();
      onClose();
    } catch (failure) {
      setProblem(sentence(failure));
    }
  };
  if (editing && message !== null) {
    return <PushDialog queue={queue} from={message} onClose={onClose} onPushed={onChanged} />;
  }
  const times: [string, number | undefined][] =
    message === null
      ? []
      : [
          ["Pushed", message.enqueued_at],
          ["Due", message.due_at],
          ["Expires", message.expires_at],
          ["Died", message.died_at],
        ];
  return (
    <Dialog title={`Message ${id}`} wide onClose={onClose}>
      <Problem text={error ?? problem} />
      {message !== null && (
        <>
          <dl class="facts">
            <div>
              <dt>State</dt>
              <dd>{message.state}</dd>
            </div>
            <div>
              <dt>Attempts</dt>
              <dd>{message.attempts}</dd>
            </div>
            <div>
              <dt>Priority</dt>
              <dd>{message.priority}</dd>
            </div>
            {message.group !== "" && (
              <div>
                <dt>Group</dt>
                <dd>{message.group}</dd>
              </div>
            )}
            {times.map(
              ([label, at]) =>
                at !== undefined &&
                at > 0 && (
                  <div key={label}>
                    <dt>{label}</dt>
                    <dd>{moment(at)}</dd>
                  </div>
                ),
            )}
          </dl>
          {message.reason !== "" && (
            <>
              <h3>Reason</h3>
              <pre class="reason">{message.reason}</pre>
            </>
          )}
          <h3>Headers</h3>
          <Headers headers={message.headers} />
          <h3>Payload</h3>
          <ValueView value={message} />
          <footer>
            {message.state === "dead" && (
              <button
                type="button"
                onClick={() =>
                  act(`Put ${id} back`, () => post(address(["queues", queue, "redrive"]), { ids: [id] }))
                }
              >
                Redrive
              </button>
            )}
            <button type="button" onClick={() => setEditing(true)}>
              Edit and push again …
            </button>
            <button type="button" class="danger" onClick={() => act(`Removed ${id}`, () => remove(where))}>
              Remove
            </button>
          </footer>
        </>
      )}
    </Dialog>
  );
}
