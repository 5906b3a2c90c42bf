// All queues: how much waits, what moves, what is stuck.
import { useState } from "preact/hooks";
import { address, post } from "../lib/api";
import { perSecond, whole } from "../lib/format";
import { usePages, useSettled } from "../lib/hooks";
import { serverNow } from "../lib/live";
import { latestRate, trace } from "../lib/trace";
import { link } from "../lib/router";
import type { Queue } from "../lib/types";
import { FormDialog } from "../ui/dialog";
import { notify } from "../ui/notice";
import { Badge, Cell, Field, ListState, Pager, Span } from "../ui/parts";

const OLD_MS = 60_000;

export function QueuesPage() {
  const [typed, setTyped] = useState("");
  const prefix = useSettled(typed);
  const [creating, setCreating] = useState(false);
  const [name, setName] = useState("");
  const pages = usePages<Queue>((after) => address(["queues"], { prefix, after }), 2_000);
  const items = pages.data?.items ?? [];
  return (
    <>
      <div class="heading">
        <h1>Queues</h1>
        <button type="button" class="primary" onClick={() => setCreating(true)}>
          New queue …
        </button>
      </div>
      <div class="search" role="search">
        <Field label="Queues that begin with" type="search" mono value={typed} onInput={setTyped} />
      </div>
      {items.length > 0 && (
        <table class="list">
          <thead>
            <tr>
              <th>Queue</th>
              <th class="number">Ready</th>
              <th class="number">Leased</th>
              <th class="number">Delayed</th>
              <th class="number">Dead</th>
              <th class="number">In</th>
              <th class="number">Done</th>
              <th class="number">Oldest</th>
              <th class="number">Waiting consumers</th>
            </tr>
          </thead>
          <tbody>
            {items.map((queue) => (
              <QueueRow key={queue.name} queue={queue} read={pages.read_ms} />
            ))}
          </tbody>
        </table>
      )}
      <ListState pages={pages} empty={prefix === "" ? "There is no queue yet." : "No queue begins so."} />
      <Pager pages={pages} noun="queue" />
      {creating && (
        <FormDialog
          title="New queue"
          action="Create"
          disabled={name === ""}
          onClose={() => setCreating(false)}
          run={async () => {
            await post(address(["queues"]), { name });
            notify(`Created ${name}`);
            location.hash = link(["queues", name]);
          }}
        >
          <Field label="Name" value={name} mono onInput={setName} />
          <p class="muted">
            With the options that queues have unless told otherwise; the command line sets others.
          </p>
        </FormDialog>
      )}
    </>
  );
}

function QueueRow({ queue, read }: { queue: Queue; read: number }) {
  const columns = trace(`queue ${queue.name}`, read + serverNow() - Date.now(), queue);
  return (
    <tr>
      <th scope="row">
        <a href={link(["queues", queue.name])}>{queue.name}</a>{" "}
        {queue.paused && <Badge tone="warn">paused</Badge>}
      </th>
      <Cell name="Ready" number>
        {whole(queue.ready + queue.held)}
      </Cell>
      <Cell name="Leased" number>
        {whole(queue.leased)}
      </Cell>
      <Cell name="Delayed" number>
        {whole(queue.delayed)}
      </Cell>
      <Cell name="Dead" number>
        {queue.dead_letters > 0 ? <b class="bad">{whole(queue.dead_letters)}</b> : 0}
      </Cell>
      <Cell name="In" number>
        {perSecond(latestRate(columns, "pushed"))}
      </Cell>
      <Cell name="Done" number>
        {perSecond(latestRate(columns, "acked"))}
      </Cell>
      <Cell name="Oldest" number>
        <Span ms={queue.oldest_age_ms} warn_ms={OLD_MS} />
      </Cell>
      <Cell name="Waiting consumers" number>
        {whole(queue.waiting_consumers)}
      </Cell>
    </tr>
  );
}
