/** The verbs that talk to evbd. */

import type { Client } from '../dbus/client.ts';
import { EvbError, type LinkStatus, type VsiRequest, type VsiStatus } from '../model.ts';
import type { Command, Values, VerbName } from './arguments.ts';
import { integerOf, timeoutOf, UsageError } from './arguments.ts';
import type { Print } from './capture.ts';
import type { Terminal } from './terminal.ts';

export type Asked = Extract<Command, { positionals: string[] }>;

/** No answer in time, told by evbctl's own clock. */
class DeadlineError extends Error {
  override readonly name = 'Timeout';
}

/** The connection to evbd ended while the verb needed it. */
class GoneError extends Error {
  override readonly name = 'Unreachable';
}

/** Milliseconds that evbd's own answer to a deadline, which says why, may come after ours. */
const GRACE = 500;
/** Requests of one `--from` that are on their way at a time: what the client's connections carry. */
const IN_FLIGHT = 1500;
const INPUT_MAX = 64 * 1024 * 1024;

/** Runs a verb and resolves to the exit code. Rejects with what is to be said on stderr. */
export async function run(asked: Asked, print: Print, terminal: Terminal): Promise<number> {
  const session = new Session(asked, print, terminal);
  try {
    return await verbs[asked.verb as keyof typeof verbs](session);
  } finally {
    await session.close();
  }
}

class Session {
  readonly asked: Asked;
  readonly terminal: Terminal;
  readonly timeout: number;
  readonly #print: Print;
  readonly #deadline: number;
  #client: Client | undefined;

  constructor(asked: Asked, print: Print, terminal: Terminal) {
    this.asked = asked;
    this.terminal = terminal;
    this.timeout = timeoutOf(asked.values);
    this.#print = print;
    this.#deadline = performance.now() + this.timeout;
  }

  get values(): Values {
    return this.asked.values;
  }

  /** Milliseconds to the deadline, at least one. */
  get remaining(): number {
    return Math.max(1, Math.round(this.#deadline - performance.now()));
  }

  /** `await`: a bus without evbd is no failure before the deadline. */
  async client(absence: 'refuse' | 'await' = 'refuse'): Promise<Client> {
    const { Client } = await import('../dbus/client.ts');
    // Its own deadlines come after ours, which name what the user gave.
    const client = new Client(this.asked.bus, this.remaining + GRACE);
    this.#client = client;
    let absent: Error | undefined;
    const told = (reason: Error) => {
      absent = reason;
    };
    try {
      await this.within(client.open(absence === 'await' ? told : undefined), () => 'no connection to evbd');
    } catch (error) {
      throw error instanceof DeadlineError ? (absent ?? new GoneError(error.message)) : error;
    }
    return client;
  }

  async close(): Promise<void> {
    await this.#client?.close();
  }

  /** `operation`, or Timeout at the deadline; `failure` says what has not happened, in words that `after 20 s` can follow. */
  async within<T>(operation: Promise<T>, failure: () => string, grace = 0): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.late(failure())), this.remaining + grace);
    });
    try {
      return await Promise.race([operation, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  late(failure: string): DeadlineError {
    return new DeadlineError(`${failure} after ${this.timeout / 1000} s; --timeout S waits longer`);
  }

  /** The document for programs, the text for people. */
  async show(document: unknown, text: () => string | Promise<string>): Promise<void> {
    const { jsonLine } = await import('./terminal.ts');
    await this.#print(this.asked.json ? jsonLine(document) : await text());
  }

  /** As `show`, with one line of text that may quote a peer. */
  async tell(document: unknown, text: string): Promise<void> {
    const { printable } = await import('./terminal.ts');
    await this.show(document, () => `${printable(this.terminal, text)}\n`);
  }

  get print(): Print {
    return this.#print;
  }
}

const verbs = {
  status,
  vsi,
  associate: (session) => request(session, 'associate'),
  preassociate: (session) => request(session, 'preassociate'),
  deassociate,
  wait,
  monitor,
  trace,
  probe,
  reload,
  release,
} satisfies Partial<Record<VerbName, (session: Session) => Promise<number>>>;

async function status(session: Session): Promise<number> {
  const [name] = session.asked.positionals;
  const client = await session.client();
  const { links, vsis } = await session.within(client.status(), () => 'evbd has not answered');
  const shown = name === undefined ? links : [linkNamed(links, name)];
  shown.sort((a, b) => (a.name < b.name ? -1 : 1));
  await session.show({ links: shown }, async () => {
    const { statusText } = await import('./show.ts');
    return statusText(shown, vsis, session.terminal);
  });
  return 0;
}

function linkNamed(links: readonly LinkStatus[], name: string): LinkStatus {
  const link = links.find((each) => each.name === name);
  if (link !== undefined) return link;
  const known = links.map((each) => each.name).join(', ') || 'none';
  throw new EvbError('NoSuchLink', `${name} is no link of evbd; configured are: ${known}`);
}

async function vsi(session: Session): Promise<number> {
  const [id] = session.asked.positionals;
  const client = await session.client();
  const vsis = await session.within(client.vsis(), () => 'evbd has not answered');
  const { vsiTable, vsiText } = await import('./show.ts');
  if (id !== undefined) {
    const one = vsiNamed(vsis, id);
    await session.show(one, () => vsiText(one, session.terminal));
    return 0;
  }
  vsis.sort((a, b) => (a.link === b.link ? (a.id < b.id ? -1 : 1) : a.link < b.link ? -1 : 1));
  await session.show({ vsis }, () => vsiTable(vsis, session.terminal));
  return 0;
}

/** Of an id, or LINK/ID, the form that evbd uses: ids are written in lower case, links as the kernel has them. */
function vsiName(name: string): string {
  const slash = name.lastIndexOf('/') + 1;
  return name.slice(0, slash) + name.slice(slash).toLowerCase();
}

/** `name`: an id, or LINK/ID. */
function vsiNamed(vsis: readonly VsiStatus[], name: string): VsiStatus {
  const wanted = vsiName(name);
  const found = vsis.filter(({ id, link }) => [vsiName(id), vsiName(`${link}/${id}`)].includes(wanted));
  if (found.length === 1) return found[0]!;
  if (found.length === 0) throw new EvbError('NoSuchVsi', `no VSI ${name}; evbctl vsi lists them`);
  const names = found.map(({ id, link }) => `${link}/${id}`).join(' or ');
  throw new EvbError('Conflict', `VSI ${name} is on several links; write ${names}`);
}

async function request(session: Session, verb: 'associate' | 'preassociate'): Promise<number> {
  const [link = ''] = session.asked.positionals;
  const { requestOf } = await import('./request.ts');
  if (session.values['from'] !== undefined) return requestMany(session, verb, link);
  const asked = requestOf(session.values, session.asked.filters);
  const client = await session.client();
  const done = await requestOne(session, client, verb, link, asked);
  const { vsiLine } = await import('./show.ts');
  await session.tell(done, vsiLine(done));
  return 0;
}

/** The VSI as it is once the bridge has confirmed. */
async function requestOne(
  session: Session,
  client: Client,
  verb: 'associate' | 'preassociate',
  link: string,
  asked: VsiRequest,
): Promise<VsiStatus> {
  // What connecting took is no reason to quote another number back than the one that was given.
  const late = session.remaining < session.timeout - GRACE;
  const left = late ? session.remaining : session.timeout;
  const timed = { ...asked, timeout: Math.min(left, asked.timeout ?? left) };
  const { reserve } = session.asked;
  const operation =
    verb === 'associate' ? client.associate(link, timed) : client.preassociate(link, timed, reserve);
  const path = await session.within(operation, () => `${link}: evbd has not answered`, GRACE);
  return session.within(client.vsi(path), () => `${link}: done, but evbd does not show the VSI`, GRACE);
}

/** Everything is asked for at once; the results come in the order of the lines. */
async function requestMany(
  session: Session,
  verb: 'associate' | 'preassociate',
  link: string,
): Promise<number> {
  const extra = Object.keys(session.values).find(
    (name) => !['from', 'timeout', 'bus', 'json', 'reserve'].includes(name),
  );
  if (extra !== undefined || session.asked.filters.length > 0) {
    throw new UsageError(
      `--from and --${extra ?? 'filter'} exclude each other: each line says all of its VSI`,
    );
  }
  const file = session.values['from']!;
  const input = await session
    .within(readAll(file), () => `--from ${file}: the input has not ended`)
    .catch((error) => {
      // An input that is still open would keep the process.
      if (file === '-') process.stdin.destroy();
      throw error;
    });
  const lines = input
    .split('\n')
    .map((text, i) => ({ number: i + 1, text: text.trim() }))
    .filter(({ text }) => text !== '');
  const { requestOfJson } = await import('./request.ts');
  const { vsiLine } = await import('./show.ts');
  const client = await session.client();

  const gate = new Gate(IN_FLIGHT);
  const results = lines.map(async ({ text }) => {
    let asked: VsiRequest | undefined;
    try {
      asked = requestOfJson(text);
      const valid = asked;
      return { vsi: await gate.pass(() => requestOne(session, client, verb, link, valid)) };
    } catch (error) {
      return { asked, error: error as Error };
    }
  });
  let failed = 0;
  for (const [i, { number }] of lines.entries()) {
    const result = await results[i]!;
    if (result.error === undefined) {
      await session.tell({ line: number, ok: true, ...result.vsi }, vsiLine(result.vsi));
      continue;
    }
    failed++;
    const { name, message } = result.error;
    const about = result.asked?.id ?? result.asked?.mac;
    await session.tell(
      { line: number, ok: false, link, ...result.asked, error: { name, message } },
      `${link}: line ${number}${about === undefined ? '' : ` (${about})`}: ${message}`,
    );
  }
  if (failed > 0) process.stderr.write(`evbctl ${verb}: ${failed} of ${lines.length} failed\n`);
  return failed > 0 ? 1 : 0;
}

async function readAll(file: string): Promise<string> {
  const { readInput } = await import('./input.ts');
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of readInput(file)) {
    length += piece.length;
    if (length > INPUT_MAX) throw new UsageError('--from: more than 64 MiB; split it');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

/** Lets a number of operations run at a time, the others wait their turn. */
class Gate {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(free: number) {
    this.#free = free;
  }

  async pass<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#free === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#free--;
    try {
      return await operation();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

async function deassociate(session: Session): Promise<number> {
  const id = vsiName(session.asked.positionals[0] ?? '');
  const client = await session.client();
  await session.within(
    client.deassociate(id, session.remaining + GRACE),
    () => `${id}: evbd has not answered`,
  );
  await session.tell({ id, state: 'deassociated' }, `${id}: deassociated`);
  return 0;
}

async function release(session: Session): Promise<number> {
  const [link = ''] = session.asked.positionals;
  const client = await session.client();
  await session.within(
    client.release(link, session.remaining + GRACE),
    () => `${link}: evbd has not answered`,
  );
  await session.tell({ link, released: true }, `${link}: released`);
  return 0;
}

async function probe(session: Session): Promise<number> {
  const [link = ''] = session.asked.positionals;
  const client = await session.client();
  const report = await session.within(
    client.probe(link, session.remaining + GRACE),
    () => `${link}: evbd has not answered`,
  );
  await session.show(report, async () => {
    const { probeText } = await import('./show.ts');
    return probeText(report, session.terminal);
  });
  return report.reflects && report.duplicates === 0 ? 0 : 1;
}

async function reload(session: Session): Promise<number> {
  const client = await session.client();
  const reloading = client.reload(session.remaining + GRACE).catch((error) => {
    // What is invalid is the configuration, not the command line.
    throw error?.name === 'InvalidArgument' ? new EvbError('Refused', error.message) : error;
  });
  const changes = await session.within(reloading, () => 'evbd has not answered');
  const { printable } = await import('./terminal.ts');
  const lines = changes.length > 0 ? changes : ['nothing changed'];
  await session.show({ changes }, () =>
    lines.map((line) => `${printable(session.terminal, line)}\n`).join(''),
  );
  return 0;
}

const STAGES = {
  negotiated: {
    reached: ({ protocol, peer }: LinkStatus) => protocol !== 'none' && Object.keys(peer).length > 0,
    not: 'nothing is negotiated',
  },
  relay: {
    reached: ({ relay }: LinkStatus) => relay === 'active' || relay === 'assumed',
    not: 'reflective relay is not on',
  },
};

async function wait(session: Session): Promise<number> {
  const [name = '', what = ''] = session.asked.positionals;
  if (!Object.hasOwn(STAGES, what)) {
    throw new UsageError(`wait LINK for negotiated or relay, not for ${JSON.stringify(what)}`);
  }
  const stage = STAGES[what as keyof typeof STAGES];
  const client = await session.client('await');
  await session.within(client.subscribe(), () => 'evbd has not answered');
  let link: LinkStatus | undefined;
  const reached = new Promise<LinkStatus>((resolve, reject) => {
    const look = () => {
      if (link === undefined) return;
      // Only a command takes it up again, and who gives that can wait anew.
      if (link.relayReason.startsWith('released')) {
        reject(new EvbError('NotReady', `${name}: ${link.relayReason}`));
      } else if (stage.reached(link)) resolve(link);
      else if (what === 'relay' && isRefused(link)) {
        reject(new EvbError('Refused', `${name}: reflective relay is ${link.relay}: ${link.relayReason}`));
      }
    };
    // Of what came before the answer the last word is in the answer; of what came with it, only here.
    let early: Partial<LinkStatus> = {};
    client.on('linkUpdated', (updated, changes) => {
      if (updated !== name) return;
      if (link === undefined) early = { ...early, ...changes };
      else link = { ...link, ...changes };
      look();
    });
    client.on('linkRemoved', (removed) => {
      if (removed === name) reject(new EvbError('NoSuchLink', `${name} is no link of evbd any more`));
    });
    client.on('daemon', (present) => {
      if (!present) reject(new GoneError(`${name}: evbd has ended`));
    });
    client.on('closed', reject);
    // Signals and this answer come in the order in which evbd sent them.
    client
      .status()
      .then(({ links }) => {
        link = { ...linkNamed(links, name), ...early };
        look();
      })
      .catch(reject);
  });
  const failure = () => `${name}: ${stage.not}${link?.relayReason ? ` (${link.relayReason})` : ''}`;
  const done = await session.within(reached, failure);
  const reachedText = what === 'relay' ? `relay ${done.relay}` : `negotiated, ${done.protocol}`;
  await session.tell(done, `${name}: ${reachedText}`);
  return 0;
}

/** Neither will change by waiting: the bridge said no, or this side was told not to ask. */
function isRefused({ role, relay }: LinkStatus): boolean {
  return relay === 'refused' || (role === 'station' && relay === 'off');
}

/** Resolves on SIGINT and SIGTERM, rejects when evbd's bus is gone. */
function untilStopped(client: Client): Promise<void> {
  const stopped = new Promise<void>((resolve, reject) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
    client.on('closed', reject);
  });
  // Nobody may be waiting for it yet.
  stopped.catch(() => {});
  return stopped;
}

async function monitor(session: Session): Promise<number> {
  const client = await session.client();
  const { because, eventText, linkChanges, vsiChanges } = await import('./show.ts');
  let queue = Promise.resolve();
  /** A text is an event by itself; without any, the event is for programs only. */
  const tell = (event: string, about: Record<string, unknown>, texts: readonly string[]) => {
    const time = Date.now() * 1000;
    const text = () => texts.map((each) => eventText(time, each, session.terminal)).join('');
    queue = queue.then(() => session.show({ time, event, ...about }, text));
  };
  // What does not change is not told again, but a text may need it.
  const links = new Map<string, Partial<LinkStatus>>();
  const vsis = new Map<string, Partial<VsiStatus>>();
  const look = () =>
    client.status().then(
      (all) => {
        // What has been told since is newer.
        for (const link of all.links) links.set(link.name, { ...link, ...links.get(link.name) });
        for (const vsi of all.vsis) {
          const name = `${vsi.link}/${vsi.id}`;
          vsis.set(name, { ...vsi, ...vsis.get(name) });
        }
      },
      // evbd has gone again; its next coming brings us here.
      () => {},
    );
  client.on('linkAdded', (link) => {
    links.set(link.name, link);
    tell('link-added', { link: link.name, relay: link.relay }, [
      `${link.name} added, relay ${link.relay}${because(link.relayReason)}`,
    ]);
  });
  client.on('linkRemoved', (link) => {
    links.delete(link);
    tell('link-removed', { link }, [`${link} removed`]);
  });
  client.on('linkUpdated', (link, changes) => {
    const texts = linkChanges(changes, links.get(link)).map((text) => `${link} ${text}`);
    links.set(link, { ...links.get(link), ...changes });
    tell('link-changed', { link, ...changes }, texts);
  });
  client.on('vsiAdded', (vsi) => {
    const { link, id, state, reason } = vsi;
    vsis.set(`${link}/${id}`, vsi);
    tell('vsi-added', { link, id, state, reason }, [`${link}/${id} ${state}${because(reason)}`]);
  });
  client.on('vsiUpdated', ({ link, id }, changes) => {
    const { history: _, ...rest } = changes;
    const name = `${link}/${id}`;
    const texts = vsiChanges(rest, vsis.get(name)).map((text) => `${name} ${text}`);
    vsis.set(name, { ...vsis.get(name), ...rest });
    tell('vsi-changed', { link, id, ...rest }, texts);
  });
  client.on('vsiRemoved', ({ link, id }) => {
    vsis.delete(`${link}/${id}`);
    tell('vsi-removed', { link, id }, [`${link}/${id} removed`]);
  });
  client.on('daemon', (present) => {
    tell(present ? 'daemon-up' : 'daemon-down', {}, [present ? 'evbd is back' : 'evbd has left the bus']);
    links.clear();
    vsis.clear();
    if (present) look();
  });
  const stopped = untilStopped(client);
  await session.within(client.subscribe(), () => 'evbd has not answered');
  await look();
  await stopped;
  await queue;
  return 0;
}

async function trace(session: Session): Promise<number> {
  const [name = ''] = session.asked.positionals;
  const count = integerOf('--count', session.values['count'], 1, Number.MAX_SAFE_INTEGER);
  const { trace: run, checkPcap } = await import('./capture.ts');
  if (session.values['pcap'] !== undefined) checkPcap(session.values['pcap']);
  const client = await session.client();
  const links = await session.within(client.links(), () => 'evbd has not answered');
  const { mac, role } = linkNamed(links, name);
  const stopped = untilStopped(client);
  client.on('daemon', (present) => {
    // A daemon that comes back knows nothing of us.
    if (present) client.watch(name).catch(() => {});
    else process.stderr.write('evbctl trace: evbd has left the bus, waiting for it\n');
  });
  const source = {
    stopped,
    onFrame: (listener: (time: number, octets: Uint8Array) => void) => {
      client.on('frame', (link, time, _sent, octets) => {
        if (link === name) listener(time, octets);
      });
    },
  };
  await session.within(client.subscribe(), () => 'evbd has not answered');
  const terminal = session.asked.json ? 'json' : session.terminal;
  const running = run(
    source,
    session.print,
    terminal,
    { [role]: mac },
    { pcap: session.values['pcap'], count },
  );
  await Promise.all([client.watch(name), running]);
  return 0;
}
