/** A daemon without links or frames: the tests decide what it has and when the bridge answers. */

import { EventEmitter } from 'node:events';

import {
  type Daemon,
  type DaemonEvents,
  EvbError,
  type LinkStatus,
  type ProbeReport,
  type VsiRequest,
  type VsiState,
  type VsiStatus,
} from '../../../src/model.ts';

export interface Request {
  method: 'associate' | 'preassociate';
  link: string;
  request: VsiRequest;
  reserve: boolean;
  resolve(vsi: VsiStatus): void;
  reject(error: Error): void;
}

export class FakeDaemon implements Daemon {
  readonly version = '0.1.0-test';
  readonly linksByName = new Map<string, LinkStatus>();
  readonly vsisByKey = new Map<string, VsiStatus>();
  readonly deassociated: string[] = [];
  readonly released: string[] = [];
  /** Requests that the test answers itself; by default the bridge confirms at once. */
  readonly held: Request[] = [];
  hold = false;
  /** What a probe of any link finds. */
  report: ProbeReport = probeReport();
  /** Thrown by every method when set. */
  failure: unknown = null;
  private readonly emitter = new EventEmitter();

  constructor() {
    this.linksByName.set('eth1', link('eth1'));
  }

  links(): LinkStatus[] {
    return [...this.linksByName.values()];
  }

  vsis(): VsiStatus[] {
    return [...this.vsisByKey.values()];
  }

  associate(name: string, request: VsiRequest): Promise<VsiStatus> {
    return this.request('associate', name, request, false);
  }

  preassociate(name: string, request: VsiRequest, reserve: boolean): Promise<VsiStatus> {
    return this.request('preassociate', name, request, reserve);
  }

  async deassociate(id: string): Promise<void> {
    this.fail();
    const found = this.vsis().find((each) => each.id === id || `${each.link}/${each.id}` === id);
    if (found === undefined) throw new EvbError('NoSuchVsi', `no VSI ${id}; evbctl vsi lists them`);
    this.deassociated.push(id);
    this.vsisByKey.delete(`${found.link}/${found.id}`);
    this.emit('vsiRemoved', { ...found, state: 'deassociated', reason: 'asked by D-Bus' });
  }

  async release(name: string): Promise<void> {
    this.fail();
    this.released.push(name);
  }

  async probe(name: string): Promise<ProbeReport> {
    this.fail();
    if (!this.linksByName.has(name)) throw new EvbError('NoSuchLink', `${name} is no link of evbd`);
    return { ...this.report, link: name };
  }

  async reload(): Promise<string[]> {
    this.fail();
    return ['uplinks.eth1.vdp.rwd: 20 -> 21'];
  }

  on<E extends keyof DaemonEvents>(event: E, listener: DaemonEvents[E]): void {
    this.emitter.on(event, listener);
  }

  off<E extends keyof DaemonEvents>(event: E, listener: DaemonEvents[E]): void {
    this.emitter.off(event, listener);
  }

  emit<E extends keyof DaemonEvents>(event: E, ...args: Parameters<DaemonEvents[E]>): void {
    this.emitter.emit(event, ...args);
  }

  listenerCount(event: keyof DaemonEvents): number {
    return this.emitter.listenerCount(event);
  }

  /** Puts the VSI there, as new or changed. */
  put(status: VsiStatus): VsiStatus {
    const key = `${status.link}/${status.id}`;
    const isNew = !this.vsisByKey.has(key);
    this.vsisByKey.set(key, status);
    this.emit(isNew ? 'vsiAdded' : 'vsiChanged', status);
    return status;
  }

  putLink(status: LinkStatus): LinkStatus {
    const isNew = !this.linksByName.has(status.name);
    this.linksByName.set(status.name, status);
    this.emit(isNew ? 'linkAdded' : 'linkChanged', status);
    return status;
  }

  private async request(
    method: Request['method'],
    name: string,
    request: VsiRequest,
    reserve: boolean,
  ): Promise<VsiStatus> {
    this.fail();
    if (!this.linksByName.has(name)) throw new EvbError('NoSuchLink', `${name} is no link of evbd`);
    if (this.hold) {
      return await new Promise((resolve, reject) => {
        this.held.push({ method, link: name, request, reserve, resolve, reject });
      });
    }
    const state = method === 'associate' ? 'associated' : reserve ? 'reserved' : 'preassociated';
    return this.put(vsi(name, request.id ?? 'generated', state, request));
  }

  private fail(): void {
    if (this.failure !== null) throw this.failure;
  }
}

export function link(name: string, changes: Partial<LinkStatus> = {}): LinkStatus {
  return {
    name,
    role: 'station',
    mac: '02:00:00:00:00:01',
    protocol: 'ratified',
    relay: 'active',
    relayReason: 'the bridge confirmed reflective relay',
    leak: 'none',
    leakReason: '',
    members: [],
    peer: { chassisId: '02:00:00:00:00:02', ttl: 121, evb: true, drift: -3, load: 0.5 },
    timers: { ackTimer: 0.16384, respWaitDelay: 10.48576 },
    counters: { framesSent: 17, framesReceived: 2 ** 40 },
    slaves: [],
    ...changes,
  };
}

export function probeReport(changes: Partial<ProbeReport> = {}): ProbeReport {
  return {
    link: 'eth1',
    reflects: true,
    enforced: false,
    relay: 'active',
    sent: 10,
    received: 10,
    duplicates: 0,
    vlan: 0,
    addresses: ['02:1b:44:11:3a:b7', '02:9c:05:e2:60:18'],
    latencyMin: 0.00005,
    latencyMedian: 0.0001,
    latencyMax: 0.0012,
    ...changes,
  };
}

export function vsi(
  linkName: string,
  id: string,
  state: VsiState = 'associated',
  request: VsiRequest = {},
): VsiStatus {
  const since = 1_760_000_000_123_456;
  return {
    id,
    link: linkName,
    state,
    manager: `${'0'.repeat(31)}1`,
    type: request.type ?? 0x123456,
    typeVersion: request.typeVersion ?? 1,
    profile: request.profile ?? '',
    filters: request.filters ?? [{ mac: '52:54:00:00:00:01', vid: request.vlan ?? 10, pcp: 3 }],
    hint: request.hint ?? 'none',
    owner: 'dbus',
    reason: 'the bridge confirmed',
    since,
    history: [
      { time: since - 5000, state: 'associating', reason: 'asked by D-Bus' },
      { time: since, state, reason: 'the bridge confirmed' },
    ],
  };
}

/** A log that keeps what it was told. */
export class TestLog {
  readonly lines: string[] = [];
  private waiting: { pattern: RegExp; resolve(): void }[] = [];

  readonly info = (text: string) => this.write(`info ${text}`);
  readonly warn = (text: string) => this.write(`warn ${text}`);
  readonly error = (text: string) => this.write(`error ${text}`);

  /** Resolves when a line that matches has been written. */
  async seen(pattern: RegExp): Promise<void> {
    if (this.lines.some((line) => pattern.test(line))) return;
    await new Promise<void>((resolve) => this.waiting.push({ pattern, resolve }));
  }

  private write(line: string): void {
    this.lines.push(line);
    const met = this.waiting.filter(({ pattern }) => pattern.test(line));
    this.waiting = this.waiting.filter((waiting) => !met.includes(waiting));
    for (const { resolve } of met) resolve();
  }
}
