// One queue: its course, its messages in each state, and what an operator does with it.
import { useState } from "preact/hooks";
import { address, post, remove } from "../lib/api";
import { bytes, compact, counted, duration, moment, perSecond, whole } from "../lib/format";
import { usePages, usePolled, useSettled } from "../lib/hooks";
import { serverNow } from "../lib/live";
import { rates } from "../lib/rates";
import { link, useRoute } from "../lib/router";
import { trace } from "../lib/trace";
import type { Page, Queue, QueueMessage, QueueState } from "../lib/types";
import { preview } from "../lib/value";
import { Chart } from "../ui/chart";
import { FormDialog } from "../ui/dialog";
import { notify } from "../ui/notice";
import { Badge, Cell, Field, ListState, Pager, Problem, Span } from "../ui/parts";
import { MessageDialog, PushDialog } from "./queue_message";
import { RedriveDialog } from "./queue_redrive";

const PREVIEW_BYTES_MAX = 200;
const STATES: readonly (readonly [QueueState, string, string])[] = [
  ["ready", "Ready", "wait for a consumer"],
  ["leased", "Leased", "are with consumers"],
  ["delayed", "Delayed", "wait for their time or a retry"],
  ["held", "Held", "wait for an earlier one of their group"],
  ["dead", "Dead", "failed too often or were refused"],
];
const SHOWN_ABOVE = new Set([
  ...[
    "name",
    "paused",
    "paused_until",
    "messages",
    "bytes",
    "resident_bytes",
    "staged",
    "ready",
    "held",
    "delayed",
  ],
  ...["leased", "dead_letters", "oldest_enqueued_at", "oldest_age_ms", "oldest_died_at", "waiting_consumers"],
]);
const COUNTERS = new Set([
  ...[
    "pushed",
    "deduplicated",
    "delivered",
    "redelivered",
    "acked",
    "nacked",
    "expired",
    "dead",
    "dropped",
    "redriven",
  ],
]);

const inState = (queue: Queue, state: QueueState): number =>
  state === "dead" ? queue.dead_letters : queue[state];

function option(name: string, value: number | string | boolean): string {
  if (typeof value !== "number") return String(value);
  if (name === "created_at") return moment(value);
  if (name.endsWith("_ms")) return duration(value);
  if (name.startsWith("bytes")) return value === 0 ? "none" : bytes(value);
  if (name.endsWith("_max")) return value === 0 ? "none" : whole(value);
  return whole(value);
}

function Facts({ queue, names }: { queue: Queue; names: readonly string[] }) {
  return (
    <dl class="facts">
      {names.map((name) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{option(name, queue[name]!)}</dd>
        </div>
      ))}
    </dl>
  );
}

function Charts({ queue, read_ms }: { queue: Queue; read_ms: number }) {
  const columns = trace(`queue ${queue.name}`, read_ms + serverNow() - Date.now(), queue);
  const at = (columns["at"] ?? []) as number[];
  const column = (name: string): (number | null)[] => columns[name] ?? [];
  return (
    <div class="charts">
      <Chart
        title="Messages"
        at_ms={at}
        format={compact}
        lines={[
          { label: "ready", values: column("ready") },
          { label: "leased", values: column("leased") },
          { label: "delayed", values: column("delayed") },
          { label: "dead", values: column("dead_letters") },
        ]}
      />
      <Chart
        title="Rates"
        at_ms={at}
        format={perSecond}
        lines={[
          { label: "pushed", values: rates(at, column("pushed")) },
          { label: "delivered", values: rates(at, column("delivered")) },
          { label: "acked", values: rates(at, column("acked")) },
          { label: "refused", values: rates(at, column("nacked")) },
        ]}
      />
    </div>
  );
}

function When({ message }: { message: QueueMessage }) {
  const now = serverNow();
  if (message.state === "dead") return <Span ms={now - (message.died_at ?? now)} />;
  if (message.state === "delayed" || message.state === "leased") return <Span ms={message.due_at - now} />;
  return <Span ms={now - message.enqueued_at} />;
}

const WHEN: Record<QueueState, string> = {
  ready: "Age",
  held: "Age",
  delayed: "Due in",
  leased: "Lease ends in",
  dead: "Dead for",
};

type Found = Page<QueueMessage> & { looked_at?: number };

/** What an empty page of messages means. */
function none(queue: Queue, state: QueueState, contains: string, page: Found | null): string {
  if (contains !== "") {
    const looked = `None of the ${whole(page?.looked_at ?? 0)} messages looked at has this.`;
    return page?.next == null ? looked : `${looked} Next looks further.`;
  }
  if (inState(queue, state) > 0) return "They came after this was read: look again.";
  return `No messages ${STATES.find(([name]) => name === state)![2]}.`;
}

function Browse({ queue, state }: { queue: Queue; state: QueueState }) {
  const levels = ["queues", queue.name, "messages"];
  const [typed, setTyped] = useState("");
  const contains = useSettled(typed);
  const pages = usePages<QueueMessage, Found>(
    (after) => address(levels, { state, contains, after, value_bytes_max: PREVIEW_BYTES_MAX }),
    0,
  );
  const [looking, setLooking] = useState<number | null>(null);
  const items = pages.data?.items ?? [];
  return (
    <>
      <div class="tabs states" role="group" aria-label="State of the messages">
        {STATES.map(([name, label]) => (
          <a key={name} href={link(["queues", queue.name], { state: name })} aria-current={name === state}>
            {label}{" "}
            <b class={name === "dead" && queue.dead_letters > 0 ? "bad" : ""}>
              {whole(inState(queue, name))}
            </b>
          </a>
        ))}
        <button type="button" onClick={pages.reload}>
          Look again
        </button>
      </div>
      <div class="search" role="search">
        <Field
          label="Messages that contain"
          type="search"
          mono
          value={typed}
          placeholder="text of the value, a header, the group or the reason"
          onInput={setTyped}
        />
      </div>
      {items.length > 0 && (
        <table class="list">
          <thead>
            <tr>
              <th>Id</th>
              <th>Value</th>
              {state === "dead" && <th>Reason</th>}
              <th>Group</th>
              <th class="number">Priority</th>
              <th class="number">Attempts</th>
              <th class="number">Size</th>
              <th class="number">{WHEN[state]}</th>
            </tr>
          </thead>
          <tbody>
            {items.map((message) => (
              <tr key={message.id}>
                <th scope="row">
                  <button type="button" class="linklike" onClick={() => setLooking(message.id)}>
                    {message.id}
                  </button>
                </th>
                <td class="preview">{preview(message)}</td>
                {state === "dead" && <Cell name="Reason">{message.reason}</Cell>}
                <Cell name="Group">{message.group || "–"}</Cell>
                <Cell name="Priority" number>
                  {message.priority}
                </Cell>
                <Cell name="Attempts" number>
                  {message.attempts}
                </Cell>
                <Cell name="Size" number>
                  {bytes(message.bytes)}
                </Cell>
                <Cell name={WHEN[state]} number>
                  <When message={message} />
                </Cell>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <ListState pages={pages} empty={none(queue, state, contains, pages.data)} />
      <Pager pages={pages} noun="message" />
      {looking !== null && (
        <MessageDialog
          queue={queue.name}
          id={looking}
          onClose={() => setLooking(null)}
          onChanged={pages.reload}
        />
      )}
    </>
  );
}

type Asking = "pause" | "purge" | "purge dead" | "redrive" | "push" | "delete" | null;

export function QueuePage({ name }: { name: string }) {
  const { query } = useRoute();
  const [asking, setAsking] = useState<Asking>(null);
  const [version, setVersion] = useState(0);
  const [minutes, setMinutes] = useState("");
  const { data: queue, read_ms, error, reload } = usePolled<Queue>(address(["queues", name]), 2_000);
  const asked = query.get("state") as QueueState | null;
  const state = STATES.some(([known]) => known === asked) ? asked! : "ready";
  const close = (): void => setAsking(null);
  const changed = (): void => {
    reload();
    setVersion((count) => count + 1);
  };
  if (queue === null) {
    return (
      <>
        <a href={link(["queues"])}>← Queues</a>
        <h1>{name}</h1>
        <Problem text={error} />
      </>
    );
  }
  const counters = Object.keys(queue).filter((field) => COUNTERS.has(field));
  const options = Object.keys(queue).filter((field) => !COUNTERS.has(field) && !SHOWN_ABOVE.has(field));
  const resume = async (): Promise<void> => {
    await post(address(["queues", name, "resume"]));
    notify(`${name} goes on`);
    reload();
  };
  return (
    <>
      <a href={link(["queues"])}>← Queues</a>
      <div class="heading">
        <h1>{name}</h1>
        {queue.paused && (
          <Badge tone="warn">
            paused{queue.paused_until > 0 ? ` for ${duration(queue.paused_until - serverNow())}` : ""}
          </Badge>
        )}
        <div class="buttons">
          <button type="button" class="primary" onClick={() => setAsking("push")}>
            Push …
          </button>
          {queue.paused ? (
            <button
              type="button"
              onClick={() => resume().catch((problem: Error) => notify(problem.message, true))}
            >
              Resume
            </button>
          ) : (
            <button type="button" onClick={() => setAsking("pause")}>
              Pause …
            </button>
          )}
          <button type="button" disabled={queue.dead_letters === 0} onClick={() => setAsking("redrive")}>
            Redrive …
          </button>
          <button
            type="button"
            class="danger"
            onClick={() => setAsking(state === "dead" ? "purge dead" : "purge")}
          >
            {state === "dead" ? "Purge dead …" : "Purge …"}
          </button>
          <button type="button" class="danger" onClick={() => setAsking("delete")}>
            Delete …
          </button>
        </div>
      </div>
      <Problem text={error} />
      <p class="muted">
        {counted(queue.messages, "message")}, {bytes(queue.bytes)}; oldest <Span ms={queue.oldest_age_ms} />;{" "}
        {counted(queue.waiting_consumers, "consumer")} waiting for more.
      </p>
      <Charts queue={queue} read_ms={read_ms} />
      <Browse key={`${state} ${version}`} queue={queue} state={state} />
      <details class="more">
        <summary>Counters since the start, and options</summary>
        <Facts queue={queue} names={counters} />
        <Facts queue={queue} names={options} />
      </details>
      {asking === "push" && <PushDialog queue={name} onClose={close} onPushed={changed} />}
      {asking === "redrive" && (
        <RedriveDialog queue={name} count={queue.dead_letters} onClose={close} onChanged={changed} />
      )}
      {asking === "pause" && (
        <FormDialog
          title={`Pause ${name}?`}
          action="Pause"
          onClose={close}
          run={async () => {
            const ms = Math.round(Number(minutes) * 60_000);
            await post(address(["queues", name, "pause"]), ms > 0 ? { ms } : {});
            notify(`${name} is paused`);
            reload();
          }}
        >
          <p>Nothing is given to consumers until it is resumed. Pushes and acknowledgements go on.</p>
          <Field label="Minutes (empty: until resumed)" type="number" value={minutes} onInput={setMinutes} />
        </FormDialog>
      )}
      {(asking === "purge" || asking === "purge dead") && (
        <FormDialog
          title={asking === "purge" ? `Purge ${name}?` : `Purge the dead letters of ${name}?`}
          action="Purge"
          danger
          typed={name}
          onClose={close}
          run={async () => {
            const body = asking === "purge" ? {} : { state: "dead" };
            const { removed } = await post<{ removed: number }>(address(["queues", name, "purge"]), body);
            notify(`Removed ${whole(removed)} from ${name}`);
            changed();
          }}
        >
          <p>
            {asking === "purge"
              ? `All ${whole(queue.messages)} messages are removed, those with consumers, too. Dead letters stay.`
              : `All ${whole(queue.dead_letters)} dead letters are removed.`}{" "}
            There is no way back.
          </p>
        </FormDialog>
      )}
      {asking === "delete" && (
        <FormDialog
          title={`Delete ${name}?`}
          action="Delete"
          danger
          typed={name}
          onClose={close}
          run={async () => {
            await remove(address(["queues", name]));
            notify(`Deleted ${name}`);
            location.hash = link(["queues"]);
          }}
        >
          <p>The queue, its messages and its dead letters are removed. There is no way back.</p>
        </FormDialog>
      )}
    </>
  );
}
