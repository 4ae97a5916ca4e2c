/** The pair under test: a station's daemon and a switch's, real ones, on a wire of their own, with VSIs associated. */

import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { createInterface, type Interface } from 'node:readline';
import { toHex } from '../../protocols/octets/index.ts';
import { type VdpRequest, type VsiCommand, vsiName } from '../../protocols/vdp/index.ts';
import type { DialectName, VsiStatus } from '../../src/model.ts';
import { BRIDGE, STATION } from '../pair/wire.ts';
import { Host, World } from '../support/world.ts';
import { wanted } from './corpus.ts';
import type { Ends, Mutant } from './mutator.ts';

export type TargetRole = 'station' | 'bridge';

const INJECTOR = new URL('./injector.mjs', import.meta.url).pathname;
/** High enough that nothing is dropped for coming too fast, strangers' tenth included. Timers of the lab: a keepalive a second. */
const LIMITS = 'limits: { frames-per-second: 1000000, vsis-per-link: 256 }';
const TIMERS = 'lldp: { tx-interval: 1 }, vdp: { rwd: 17, rka: 17 }';
/** The standard is what two daemons find by themselves. */
const PROTOCOL: Record<DialectName, string> = { ratified: 'protocol: auto', draft: 'protocol: draft' };
const CONFIGURATION: Record<TargetRole, (protocol: string) => string> = {
  station: (protocol) => `${LIMITS}\nuplinks: { eth1: { ${protocol}, ${TIMERS}, group-ids: true } }\n`,
  bridge: (protocol) => `${LIMITS}\nports: { swp1: { ${protocol}, ${TIMERS}, enforce: on } }\n`,
};
const LINK: Record<TargetRole, string> = { station: 'eth1', bridge: 'swp1' };
const OTHER: Record<TargetRole, TargetRole> = { station: 'bridge', bridge: 'station' };
const IN_FORCE: Record<VdpRequest, string> = {
  associate: 'associated',
  preassociate: 'preassociated',
  reserve: 'reserved',
  deassociate: 'deassociated',
};

/** What the injector tells after a batch. */
export interface Delivery {
  /** Of the target, and frames that its peer has sent it. */
  counters: Record<string, number>;
  peerSent: number;
  /** Milliseconds of the slowest answer over D-Bus. */
  slowest: number;
  /** Frames that no counter of the target tells of. */
  unseen: number;
}

export class Pair {
  readonly hosts: Record<TargetRole, Host>;
  readonly #world: World;
  readonly #target: TargetRole;
  readonly #wanted: readonly VsiCommand[];
  #injector!: ChildProcess;
  #answers!: AsyncIterator<string>;
  #lines!: Interface;

  private constructor(
    world: World,
    hosts: Record<TargetRole, Host>,
    target: TargetRole,
    dialect: DialectName,
  ) {
    this.#world = world;
    this.hosts = hosts;
    this.#target = target;
    this.#wanted = wanted(dialect);
  }

  /** Both daemons run, and all that is wanted is in force. */
  static async create(target: TargetRole, dialect: DialectName): Promise<Pair> {
    const world = await World.create('station', 'bridge');
    try {
      const swp1 = ['peer', 'name', 'swp1', 'address', BRIDGE, 'netns', 'bridge'];
      const eth1 = ['eth1', 'address', STATION, 'netns', 'station', 'type', 'veth'];
      world.must('ip', 'link', 'add', ...eth1, ...swp1);
      // With spanning tree the bridge keeps our group address to itself: hostile frames do not come back to their sender's end.
      const stp = ['stp_state', '1', 'forward_delay', '200'];
      world.in('bridge', 'ip', 'link', 'add', 'br0', 'type', 'bridge', ...stp);
      world.in('bridge', 'ip', 'link', 'set', 'swp1', 'master', 'br0');
      for (const link of ['br0', 'swp1']) world.in('bridge', 'ip', 'link', 'set', link, 'up');
      world.in('station', 'ip', 'link', 'set', 'eth1', 'up');
      const hosts = {
        station: await Host.create(world, 'station', CONFIGURATION.station(PROTOCOL[dialect])),
        bridge: await Host.create(world, 'bridge', CONFIGURATION.bridge(PROTOCOL[dialect])),
      };
      await hosts.bridge.start();
      await hosts.station.start();
      const pair = new Pair(world, hosts, target, dialect);
      await pair.#ask(pair.#wanted);
      pair.#startInjector();
      return pair;
    } catch (error) {
      await world.end();
      throw error;
    }
  }

  static ends(target: TargetRole, dialect: DialectName): Ends {
    const macs = { station: STATION, bridge: BRIDGE };
    return { target: macs[target], peer: macs[OTHER[target]], dialect };
  }

  get target(): Host {
    return this.hosts[this.#target];
  }

  /** Resident memory of the target's process, octets. */
  get memory(): number {
    const status = readFileSync(`/proc/${this.target.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024;
  }

  /** Resolves when the target has taken them. Rejects when it does not answer any more. */
  async deliver(mutants: readonly Mutant[]): Promise<Delivery> {
    this.#injector.stdin!.write(batchOf(mutants));
    const { value } = await this.#answers.next();
    const told = value === undefined ? { error: 'the injector has ended' } : JSON.parse(value);
    if (told.error !== undefined) throw new Error(told.error);
    return told;
  }

  /** The last frames as they were sent; nothing can be delivered afterwards. */
  async lastFrames(): Promise<Uint8Array[]> {
    this.#injector.stdin!.end();
    let last = '';
    for (let next = await this.#answers.next(); !next.done; next = await this.#answers.next())
      last = next.value;
    return (JSON.parse(last || '{}').last ?? []).map((hex: string) => Buffer.from(hex, 'hex'));
  }

  async vsis(role: TargetRole): Promise<VsiStatus[]> {
    return this.hosts[role].vsis();
  }

  /** The link as D-Bus tells it. */
  link(role: TargetRole) {
    return this.hosts[role].link(LINK[role]);
  }

  /** Of what is wanted: why it is not in force at one end or the other, a line each; and what the bridge holds besides. */
  async missing(): Promise<string[]> {
    const held = { station: await this.vsis('station'), bridge: await this.vsis('bridge') };
    const missing = this.#wanted.flatMap((command) =>
      (['station', 'bridge'] as const).flatMap((role) => {
        const vsi = held[role].find(({ id }) => id === vsiName(command));
        if (vsi?.state === IN_FORCE[command.request]) return [];
        return [
          `${vsiName(command)} ${vsi ? `${vsi.state} (${vsi.reason})` : 'is not there'} at the ${role}`,
        ];
      }),
    );
    const others = held.bridge.filter(({ id }) => this.#wanted.every((command) => vsiName(command) !== id));
    return [...missing, ...others.map(({ id, state }) => `${id} ${state} at the bridge, nobody wants it`)];
  }

  /** Asks again for what the station has given up: that is the user's to do. Why it had, of each. */
  async askAgain(): Promise<string[]> {
    const failed = (await this.vsis('station')).filter(({ state }) => state === 'failed');
    const commands = this.#wanted.filter((command) => failed.some(({ id }) => id === vsiName(command)));
    // Under fire it may be refused once more.
    await this.#ask(commands).catch(() => {});
    return failed.map(({ reason }) => reason);
  }

  /** The target's EVB peer has the identity of the other end, not one that somebody made up. */
  async knowsItsPeer(): Promise<boolean> {
    const { mac } = await this.link(OTHER[this.#target]);
    const { peer } = await this.link(this.#target);
    return peer.chassisId === mac && peer.portId === mac;
  }

  /** Of every VSI at either end what it has been from its birth to now: while nobody touches it, that stays the same. */
  async biographies(): Promise<Map<string, string>> {
    const all = [...(await this.vsis('station')), ...(await this.vsis('bridge'))];
    return new Map(
      all.map(({ id, link, since, history }) => {
        const { state, reason } = history.at(-1)!;
        return [`${id} of ${link}`, `${state} (${reason}) since ${since} after ${history.length} changes`];
      }),
    );
  }

  async end(): Promise<void> {
    this.#lines?.close();
    await this.#world.end();
  }

  async #ask(commands: readonly VsiCommand[]): Promise<void> {
    for (const [request, verb] of [
      ['associate', ['associate']],
      ['preassociate', ['preassociate']],
      ['reserve', ['preassociate', '--reserve']],
    ] as const) {
      const lines = commands.filter((command) => command.request === request).map(asDictionary);
      if (lines.length === 0) continue;
      const file = join(this.#world.folder, 'vsis');
      writeFileSync(file, lines.join('\n'));
      await this.hosts.station.must(verb[0], LINK.station, '--from', file, ...verb.slice(1));
    }
  }

  #startInjector(): void {
    const other = OTHER[this.#target];
    const command = [process.execPath, INJECTOR, LINK[other], this.target.bus, LINK[this.#target]];
    const peer = [this.hosts[other].bus, LINK[other]];
    this.#injector = this.#world.start(other, [...command, ...peer], {}, 'pipe');
    this.#injector.stdin!.on('error', () => {});
    this.#injector.stderr!.pipe(process.stderr);
    this.#lines = createInterface({ input: this.#injector.stdout! });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }
}

function asDictionary({ id, idFormat, type, typeVersion, manager, filters, hint }: VsiCommand): string {
  return JSON.stringify({
    id: vsiName({ id, idFormat }),
    manager: toHex(manager),
    type,
    'type-version': typeVersion,
    filters,
    hint,
  });
}

/** As injector.mjs reads it. */
function batchOf(mutants: readonly Mutant[]): Uint8Array {
  const records = mutants.map(({ octets, live }) => {
    const record = Buffer.alloc(6 + octets.length);
    record.writeUInt16BE(octets.length, 0);
    record.writeUInt8(live === undefined ? 0 : live.of === 'request' ? 1 : 2, 2);
    record.writeInt8(live?.delta ?? 0, 3);
    record.writeUInt16BE(live?.at ?? 0, 4);
    record.set(octets, 6);
    return record;
  });
  const head = Buffer.alloc(8);
  head.writeUInt32BE(
    records.reduce((sum, { length }) => sum + length, 8),
    0,
  );
  head.writeUInt32BE(records.length, 4);
  return Buffer.concat([head, ...records]);
}
