import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import process from 'node:process';
import { eventually, type Outcome, type World } from './world.ts';

export const LLDPAD_PROGRAMS = ['ip', 'lldpad', 'lldptool', 'vdptool', 'tcpdump', 'dbus-daemon'];

/** A VSI as vdptool takes and shows it. */
export interface VdptoolVsi {
  mode: string;
  manager: string;
  type: number;
  typeVersion: number;
  uuid: string;
  /** VID, VID-MAC, VID--GROUP or VID-MAC-GROUP. */
  filters: string[];
}

/** An interface as libvirt asks for it: manager 7, type 0x123456 version 4 unless told otherwise. */
export interface LibvirtGuest {
  uuid: string;
  mac: string;
  vlan: number;
  type?: number;
}

const ASSOCIATE = 2;
const DISASSOCIATE = 3;

/**
 * A real lldpad on a link of a namespace, with a /run and a /dev/shm of its own, set up by lldptool as an administrator would.
 * Its control socket is abstract and so belongs to the network namespace: one lldpad in each.
 */
export class Lldpad {
  log = '';
  readonly #world: World;
  readonly #namespace: string;
  readonly #link: string;
  #process!: ChildProcess;

  private constructor(world: World, namespace: string, link: string) {
    this.#world = world;
    this.#namespace = namespace;
    this.#link = link;
  }

  /** Resolves when it transmits the EVB TLV with these settings (lldpad-evb22(8)). */
  static async start(
    world: World,
    namespace: string,
    link: string,
    settings: readonly string[],
  ): Promise<Lldpad> {
    const lldpad = new Lldpad(world, namespace, link);
    await lldpad.restart();
    lldpad.#tool('-L', ['adminStatus=rxtx']);
    for (const setting of [...settings, 'enabletx=yes']) lldpad.set(setting);
    return lldpad;
  }

  /** As above, with draft 0.2: it asks for reflective relay, or offers it, and ECP and VDP. */
  static async startDraft(
    world: World,
    namespace: string,
    link: string,
    role: 'station' | 'bridge',
  ): Promise<Lldpad> {
    const lldpad = new Lldpad(world, namespace, link);
    await lldpad.restart();
    lldpad.#tool('-L', ['adminStatus=rxtx']);
    for (const [tlv, setting] of [
      ...(role === 'bridge' ? [['vdp', 'role=bridge']] : []),
      ['vdp', 'enableTx=yes'],
      ['evbCfg', 'enableTx=yes'],
      ['evbCfg', 'capabilities=rte,ecp,vdp'],
      ['evbCfg', 'fmode=reflectiverelay'],
    ] as const)
      lldpad.#tool('-T', ['-V', tlv!, '-c', setting!]);
    // Only what it reads when it starts has an effect.
    await lldpad.kill('SIGTERM');
    await lldpad.restart();
    return lldpad;
  }

  get pid(): number {
    return this.#process.pid!;
  }

  set(setting: string): void {
    this.#tool('-T', ['-V', 'evb', '-c', setting]);
  }

  /** Starts it with the configuration that the run before left. Resolves when it answers. */
  async restart(): Promise<void> {
    const world = this.#world;
    this.log = '';
    const folders = 'mount -t tmpfs tmpfs /dev/shm && mount -t tmpfs tmpfs /run';
    const command = `${folders} && exec lldpad -V 7 -f ${world.folder}/lldpad-${this.#namespace}.conf`;
    this.#process = world.start(this.#namespace, ['unshare', '--mount', 'sh', '-c', command]);
    for (const stream of [this.#process.stdout!, this.#process.stderr!])
      stream.on('data', (data) => (this.log += data));
    await eventually(
      () => world.run(this.#namespace, 'lldptool', 'ping'),
      ({ status }) => status === 0,
      'lldpad does not answer',
    );
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.kill(signal);
    await ended;
  }

  /**
   * Resolves when its VDP has its timers. It runs VDP a second before, with timers of 0, and throws out at once whatever it grants
   * (vdp.md 4.2).
   */
  async steady(): Promise<void> {
    await eventually(
      () => /vdp22_create[\s\S]*data_from_evb/.test(this.log),
      (has) => has,
      'lldpad runs no VDP, or has no timers for it',
    );
  }

  /** What its neighbour said last. */
  neighbour(): string {
    return this.#tool('-t', ['-n']);
  }

  /** Asks as the station for `vsi.mode`, and waits for the outcome. */
  request(vsi: VdptoolVsi): Promise<Outcome> {
    const { mode, manager, type, typeVersion, uuid, filters } = vsi;
    const settings = [
      `mode=${mode}`,
      `mgrid2=${manager}`,
      `typeid=${type}`,
      `typeidver=${typeVersion}`,
      `uuid=${uuid}`,
      'hints=none',
      ...filters.map((filter) => `filter=${filter}`),
    ];
    const options = ['-i', this.#link, '-T', '-W', '-V', mode, ...settings.flatMap((each) => ['-c', each])];
    return this.#world.run(this.#namespace, 'vdptool', ...options);
  }

  /** The VSIs of its station as it knows them itself. */
  async vsis(): Promise<VdptoolVsi[]> {
    const shown = await this.#world.run(
      this.#namespace,
      ...['vdptool', '-i', this.#link, '-t', '-V', 'assoc'],
    );
    return shown.stdout
      .split(/^VSI +\d+:$/m)
      .slice(1)
      .map((text) => {
        const values = (key: string) =>
          [...text.matchAll(new RegExp(`\\t${key} = (.*)`, 'g'))].map(([, value]) => value!);
        return {
          mode: values('mode')[0]!,
          manager: values('mgrid2')[0]!,
          type: Number(values('typeid')[0]),
          typeVersion: Number(values('typeidver')[0]),
          uuid: values('uuid')[0]!,
          filters: values('filter'),
        };
      });
  }

  /** Draft 0.2: mode 2 associates, 3 ends. What came of it shows in draftVsis(). */
  requestDraft(mode: number, vsi: { uuid: string; mac: string; vlan: number }): Promise<Outcome> {
    const text = `mode=${mode},7,1193046,4,${vsi.uuid},2,${vsi.mac},${vsi.vlan}`;
    const options = ['-T', '-i', this.#link, '-g', 'ncb', '-V', 'vdp', '-c', text];
    return this.#world.run(this.#namespace, 'lldptool', ...options);
  }

  /** What its draft station says of its VSIs. */
  draftVsis(): string {
    return this.#tool('-t', ['-V', 'vdp', '-c', 'mode']);
  }

  /** What libvirt does for an interface of a guest that starts: SETLINK to its netlink port, then polls. */
  associateAsLibvirt(guest: LibvirtGuest) {
    return this.#asLibvirt(ASSOCIATE, guest);
  }

  disassociateAsLibvirt(guest: LibvirtGuest) {
    return this.#asLibvirt(DISASSOCIATE, guest);
  }

  async #asLibvirt(request: number, guest: LibvirtGuest): Promise<{ errno: number; response?: number }> {
    const client = new URL('libvirt-client.mjs', import.meta.url).pathname;
    const numbers = { manager: 7, type: 0x123456, typeVersion: 4 };
    const vsi = JSON.stringify({ request, link: this.#link, ...numbers, ...guest });
    const { status, stdout, stderr } = await this.#world.run(
      this.#namespace,
      ...[process.execPath, client, String(this.pid), vsi],
    );
    if (status !== 0) throw new Error(stderr);
    return JSON.parse(stdout);
  }

  #tool(command: string, options: readonly string[]): string {
    const agent = ['-i', this.#link, '-g', 'ncb'];
    return this.#world.in(this.#namespace, 'lldptool', command, ...agent, ...options);
  }
}
