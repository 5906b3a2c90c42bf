// The groups of a stream: how far behind each is, where it goes on, and what it gave up on.
import { useState } from "preact/hooks";
import { address, post, remove } from "../lib/api";
import { moment, whole } from "../lib/format";
import { usePages } from "../lib/hooks";
import { link } from "../lib/router";
import type { DeadRecord, Group } from "../lib/types";
import { FormDialog } from "../ui/dialog";
import { MessageRow } from "../ui/message";
import { notify } from "../ui/notice";
import { Cell, Choice, Field, ListState, Pager, Span } from "../ui/parts";

const LATE_MS = 60_000;
const VALUE_BYTES_MAX = 10_000;

type Target = "beginning" | "end" | "seq" | "time";

function SeekDialog({ stream, group, onClose }: { stream: string; group: Group; onClose: () => void }) {
  const [target, setTarget] = useState<Target>("end");
  const [seq, setSeq] = useState(String(group.ack_floor + 1));
  const [time, setTime] = useState("");
  const body = (): object => {
    if (target === "seq") {
      if (!/^\d+$/.test(seq)) throw new Error("A sequence is a whole number.");
      return { seq: Number(seq) };
    }
    if (target === "time") {
      const at = new Date(time).getTime();
      if (Number.isNaN(at)) throw new Error("Choose a date and a time.");
      return { time: at };
    }
    return { to: target };
  };
  return (
    <FormDialog
      title={`Seek ${group.name}`}
      action="Seek"
      danger
      typed={group.name}
      onClose={onClose}
      run={async () => {
        await post(address(["streams", stream, "groups", group.name, "seek"]), body());
        notify(`${group.name} goes on from there`);
      }}
    >
      <p>
        The group forgets what it has settled and goes on from the place you choose: backwards it gets
        messages again, forwards it skips some. Its {whole(group.members)} members are fenced and join again.
      </p>
      <Choice<Target>
        label="Go on from"
        value={target}
        options={[
          ["beginning", "the beginning"],
          ["end", "the end: only what comes now"],
          ["seq", "a sequence"],
          ["time", "a time"],
        ]}
        onChange={setTarget}
      />
      {target === "seq" && <Field label="Sequence" type="number" value={seq} onInput={setSeq} />}
      {target === "time" && (
        <Field label="Time (yours)" type="datetime-local" value={time} onInput={setTime} />
      )}
    </FormDialog>
  );
}

export function Groups({ stream }: { stream: string }) {
  const pages = usePages<Group>((after) => address(["streams", stream, "groups"], { after }), 2_000);
  const [asking, setAsking] = useState<{ what: "seek" | "delete"; group: Group } | null>(null);
  const items = pages.data?.items ?? [];
  const close = (): void => {
    setAsking(null);
    pages.reload();
  };
  return (
    <section aria-labelledby="groups">
      <h2 id="groups">Groups</h2>
      {items.length > 0 && (
        <table class="list">
          <thead>
            <tr>
              <th>Group</th>
              <th class="number">Behind</th>
              <th class="number">Late by</th>
              <th class="number">Leased</th>
              <th class="number">Members</th>
              <th class="number">Settled up to</th>
              <th class="number">Dead</th>
              <th />
            </tr>
          </thead>
          <tbody>
            {items.map((group) => (
              <tr key={group.name}>
                <th scope="row">{group.name}</th>
                <Cell name="Behind" number>
                  {whole(group.lag_messages)}
                </Cell>
                <Cell name="Late by" number>
                  <Span ms={group.lag_ms} warn_ms={LATE_MS} />
                </Cell>
                <Cell name="Leased" number>
                  {whole(group.leased)}
                </Cell>
                <Cell name="Members" number>
                  {group.members === 0 && group.lag_messages > 0 ? (
                    <b class="warn">0</b>
                  ) : (
                    whole(group.members)
                  )}
                </Cell>
                <Cell name="Settled up to" number>
                  {whole(group.ack_floor)}
                </Cell>
                <Cell name="Dead" number>
                  {group.dead > 0 ? (
                    <a class="bad" href={link(["streams", stream], { dead: group.name })}>
                      {whole(group.dead)}
                    </a>
                  ) : (
                    0
                  )}
                </Cell>
                <td class="actions">
                  <button
                    type="button"
                    aria-label={`Seek ${group.name}`}
                    onClick={() => setAsking({ what: "seek", group })}
                  >
                    Seek …
                  </button>
                  <button
                    type="button"
                    class="danger"
                    aria-label={`Delete ${group.name}`}
                    onClick={() => setAsking({ what: "delete", group })}
                  >
                    Delete …
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <ListState pages={pages} empty="No group reads this stream." />
      <Pager pages={pages} noun="group" />
      {asking?.what === "seek" && <SeekDialog stream={stream} group={asking.group} onClose={close} />}
      {asking?.what === "delete" && (
        <FormDialog
          title={`Delete the group ${asking.group.name}?`}
          action="Delete"
          danger
          typed={asking.group.name}
          onClose={close}
          run={async () => {
            await remove(address(["streams", stream, "groups", asking.group.name]));
            notify(`Deleted ${asking.group.name}`);
          }}
        >
          <p>What it has settled and its dead letters are forgotten. The records of the stream stay.</p>
        </FormDialog>
      )}
    </section>
  );
}

export function DeadLetters({ stream, group }: { stream: string; group: string }) {
  const levels = ["streams", stream, "groups", group, "dead"];
  const pages = usePages<DeadRecord>(
    (after) => address(levels, { after, value_bytes_max: VALUE_BYTES_MAX }),
    5_000,
  );
  const act = async (done: string, action: Promise<unknown>): Promise<void> => {
    try {
      await action;
      notify(done);
    } catch (problem) {
      notify(problem instanceof Error ? problem.message : String(problem), true);
    }
    pages.reload();
  };
  const items = pages.data?.items ?? [];
  return (
    <section class="card" aria-labelledby="dead">
      <div class="heading">
        <h2 id="dead">Dead letters of {group}</h2>
        <a href={link(["streams", stream])}>Close</a>
      </div>
      <div class="messages">
        {items.map((letter) => (
          <MessageRow
            key={letter.seq}
            value={letter}
            head={
              <>
                <b>{letter.seq}</b> <span class="bad">{letter.reason || "no reason"}</span>
              </>
            }
          >
            <p class="muted">
              {whole(letter.attempts)} attempts; appended {moment(letter.timestamp)}, died{" "}
              {moment(letter.died_at)}
              {letter.key !== "" && (
                <>
                  ; key <code>{letter.key}</code>
                </>
              )}
            </p>
            <div class="buttons">
              <button
                type="button"
                onClick={() =>
                  act(`Appended ${letter.seq} again`, post(address([...levels, letter.seq, "redrive"])))
                }
              >
                Redrive
              </button>
              <button
                type="button"
                class="danger"
                onClick={() => act(`Removed ${letter.seq}`, remove(address([...levels, letter.seq])))}
              >
                Remove
              </button>
            </div>
          </MessageRow>
        ))}
      </div>
      <ListState pages={pages} empty="None: nothing was given up on." />
      <Pager pages={pages} noun="letter" />
    </section>
  );
}
