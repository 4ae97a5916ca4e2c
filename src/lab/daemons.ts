/** The two evbd of the lab, each with its configuration and a message bus of its own, and evbctl as a user calls it. */

import fs from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { folder, LabError, type Outcome, program, run, Service } from './namespaces.ts';

export type Side = 'station' | 'switch';

/** The lab's one profile, known to both sides by the three numbers that go over the wire. */
export const profile = 'vm';
const numbers = 'manager: 1, type: 0x123456, type-version: 1';

const configurations: Record<Side, string> = {
  station: `\
uplinks:
  eth1:
    reflective-relay: request
profiles:
  ${profile}: { ${numbers} }
`,
  // A guest is untagged and asks for VLAN 0, "the bridge chooses"; untagged frames are of the bridge's VLAN 1.
  switch: `\
ports:
  swp1:
    reflective-relay: allow
    admission: profiles
    enforce: on
profiles:
  ${profile}: { ${numbers}, vlan: 1 }
`,
};

const busConfiguration = (socket: string): string => `\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path=${socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`;

/** One side: a message bus and an evbd, as long as it runs. */
export class Host {
  readonly side: Side;
  readonly bus: string;
  readonly #place: string;
  #daemon: Service | undefined;
  #bus: Service | undefined;

  constructor(side: Side) {
    this.side = side;
    this.#place = `${folder}/${side}`;
    this.bus = `unix:path=${this.#place}/bus`;
  }

  /** The message bus; resolves when it can be connected to. */
  async open(): Promise<void> {
    fs.mkdirSync(this.#place);
    fs.writeFileSync(`${this.#place}/bus.conf`, busConfiguration(`${this.#place}/bus`));
    fs.writeFileSync(`${this.#place}/evbd.yaml`, configurations[this.side]);
    const command = ['dbus-daemon', '--nofork', '--nopidfile', `--config-file=${this.#place}/bus.conf`];
    this.#bus = new Service('dbus-daemon', this.side, command, `${this.#place}/bus.log`);
    for (const deadline = Date.now() + 5000; !fs.existsSync(`${this.#place}/bus`); await pause(5)) {
      if (this.#bus.how !== undefined || Date.now() > deadline) {
        throw new LabError(
          `dbus-daemon does not start (${this.#bus.how ?? 'no socket'})`,
          this.#bus.tail(10),
        );
      }
    }
  }

  /** How a person would start it; shorter than what is run, which names the compiled file. */
  get commandLine(): string {
    return `evbd --config ${this.#place}/evbd.yaml`;
  }

  startDaemon(): void {
    const files = ['--state-dir', `${this.#place}/state`, '--runtime-dir', `${this.#place}/run`];
    const options = ['--config', `${this.#place}/evbd.yaml`, '--bus', this.bus, ...files];
    const command = [process.execPath, program('evbd.js'), ...options];
    this.#daemon = new Service(`evbd (${this.side})`, this.side, command, `${this.#place}/evbd.log`);
  }

  /** Throws when the daemon has ended by itself. */
  checkDaemon(): void {
    if (this.#daemon?.how !== undefined)
      throw new LabError(`evbd in ${this.side} has ended: ${this.#daemon.how}`);
  }

  /** Ends it as systemd would, and throws unless it ends well. */
  async stopDaemon(): Promise<void> {
    const how = (await this.#daemon?.stop(5000)) ?? 'exit 0';
    if (how !== 'exit 0') throw new LabError(`evbd in ${this.side} after SIGTERM: ${how}`);
    this.#daemon = undefined;
  }

  async evbctl(args: readonly string[], input?: string): Promise<Outcome> {
    const command = [process.execPath, program('cli/evbctl.js'), '--bus', this.bus, ...args];
    return await run(this.side, command, input);
  }

  /** The daemon's log, its end. */
  logTail(lines: number): string[] {
    return this.#daemon?.tail(lines) ?? [];
  }
}
