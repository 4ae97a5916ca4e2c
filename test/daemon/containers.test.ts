/**
 * Interfaces made as container engines make them, step by step as they were watched at it (docs/containers.md): Docker 20.10,
 * Podman 4.3 with netavark 1.4, CNI 1.1 with its macvlan and tuning plugins.
 */

import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({
  networkNamespace: true,
  programs: ['ip', 'bridge', 'dbus-daemon', 'unshare', 'nsenter', 'mount'],
});

const CONFIG = `
uplinks: { eth1: { slaves: auto } }
profiles: { web: { manager: 1, type: 1, type-version: 1 }, rest: { manager: 1, type: 2, type-version: 1 } }
rules:
  - { match: { mac: "02:42:*" }, profile: web }
`;
/** What an interface has until its engine gives it its own. */
const PASSING = 'ce:2f:2b:52:89:7f';
const mac = (n: number) => `02:42:0a:00:00:0${n}`;
const words = (text: string) => text.split(' ');

let world: World;
let station: Host;
let bridge: Host;

beforeEach(async () => {
  if (!ready) return;
  world = await World.wired();
  // As systemd has /run: what is mounted there later is seen by those who came before.
  world.must(...words('mkdir -p /run/docker/netns'));
  world.must(...words('mount -t tmpfs tmpfs /run/docker/netns'));
  world.must(...words('mount --make-shared /run/docker/netns'));
  station = await Host.create(world, 'sta', CONFIG);
  bridge = await Host.create(world, 'br', 'ports: { swp1: { enforce: on } }');
  await bridge.start();
  await station.start();
  await station.must('wait', 'eth1', 'relay');
}, 60_000);
afterEach(() => world?.end());

const onHost = (command: string) => world.in('sta', ...words(`ip ${command}`));

/** A namespace that an engine has made, by its path. */
class Container {
  readonly path: string;
  /** The host's name of the interface. */
  name = '';

  constructor(path: string) {
    this.path = path;
  }

  /** dockerd is given a process in a namespace, and binds that to a name. */
  static async docker(id: string): Promise<Container> {
    const held = world.start('sta', words('unshare --net sh -c').concat('echo && exec sleep 1000'));
    await once(held.stdout!, 'data');
    const container = new Container(`/run/docker/netns/${id}`);
    world.must('touch', container.path);
    world.must(...words(`mount --bind /proc/${held.pid}/ns/net ${container.path}`));
    return container;
  }

  /** Podman and the container runtimes of Kubernetes make one without a process, and have it under a name. */
  static cri(id: string): Container {
    world.must('ip', 'netns', 'add', id);
    return new Container(`/run/netns/${id}`);
  }

  ip(command: string): string {
    return world.must('nsenter', `--net=${this.path}`, ...words(`ip ${command}`));
  }

  /** libnetwork: made on the host, moved by file descriptor, then renamed, then given its address, then brought up. */
  attachDocker(name: string, address: string): void {
    this.name = name;
    onHost(`link add link eth1 name ${name} address ${PASSING} type macvlan mode vepa`);
    onHost(`link set ${name} netns ${this.path}`);
    this.ip(`link set ${name} name eth0`);
    this.ip(`link set eth0 address ${address}`);
    this.ip('link set eth0 up');
  }

  /** Its way back when the container stops: down, renamed, moved to the host, deleted there. */
  detachDocker(): void {
    this.ip('link set eth0 down');
    this.ip(`link set eth0 name ${this.name}`);
    this.ip(`link set ${this.name} netns ${station.pid}`);
    onHost(`link del ${this.name}`);
    // As the engine does it: evbd may be looking into it at this moment.
    world.must('umount', '--lazy', this.path);
  }

  /** In one request, directly inside: only the uplink tells of it. */
  attachNetavark(address: string): void {
    onHost(`link add link eth1 name eth0 netns ${this.path} address ${address} type macvlan mode vepa`);
    this.ip('link set eth0 up');
  }

  /** Likewise, and renamed inside. */
  attachCni(address: string): void {
    onHost(`link add link eth1 name veth1a2b netns ${this.path} address ${address} type macvlan mode vepa`);
    this.ip('link set veth1a2b name net1');
    this.ip('link set net1 up');
  }
}

/** What the bridge has associated: MAC and type. */
const atBridge = async () =>
  (await bridge.vsis())
    .filter(({ state }) => state === 'associated')
    .map(({ filters, type }) => `${filters[0].mac} ${type}`)
    .sort();
const becomes = (...wanted: string[]) =>
  eventually(atBridge, (is) => JSON.stringify(is) === JSON.stringify(wanted.sort()), `VSIs ${wanted}`);
const slaves = async () => (await station.link('eth1')).slaves;

describe.runIf(ready)('containers', { timeout: 120_000 }, () => {
  it("Docker's: never asked for with its passing address, and gone when it stops", async () => {
    const container = await Container.docker('a8a270c64e1e');
    container.attachDocker('veth08824d3', mac(1));
    await becomes(`${mac(1)} 1`);
    expect(await slaves()).toMatchObject([{ name: 'eth0', mac: mac(1), mode: 'vepa', reason: '' }]);
    const [{ history }] = await station.vsis();
    expect(history.map(({ state }: { state: string }) => state)).toEqual(['associating', 'associated']);
    container.detachDocker();
    await becomes();
    expect(await slaves()).toEqual([]);
    const again = await Container.docker('b8a270c64e1e');
    again.attachDocker('veth16d0d18', mac(1));
    await becomes(`${mac(1)} 1`);
  });

  it("Docker's, with a rule for any address: the passing one is asked for and then changed", async () => {
    station.configure(`${CONFIG}  - { match: { uplink: eth1 }, profile: rest }\n`);
    await station.must('reload');
    onHost(`link add link eth1 name veth08824d3 address ${PASSING} type macvlan mode vepa`);
    await becomes(`${PASSING} 2`);
    const container = await Container.docker('a8a270c64e1e');
    onHost(`link set veth08824d3 netns ${container.path}`);
    container.ip('link set veth08824d3 name eth0');
    container.ip(`link set eth0 address ${mac(1)}`);
    await becomes(`${mac(1)} 1`);
    expect((await station.vsis()).map(({ owner }) => owner)).toEqual(['rule:1']);
    // A rule before it is another number for the same one.
    station.configure(CONFIG.replace('rules:', 'rules:\n  - { match: { mac: "52:*" }, profile: rest }'));
    await station.must('reload');
    const owners = async () => (await station.vsis()).map(({ owner }) => owner);
    await eventually(owners, (is) => is.join() === 'rule:2', 'the rule has another number');
    expect(await atBridge()).toEqual([`${mac(1)} 1`]);
  });

  it("netavark's and CNI's: made directly in a namespace that nobody had heard of", async () => {
    Container.cri('netns-c9a68a1f').attachNetavark(mac(1));
    await becomes(`${mac(1)} 1`);
    Container.cri('cni-1d7a1204').attachCni(mac(2));
    await becomes(`${mac(1)} 1`, `${mac(2)} 1`);
    const tuned = Container.cri('cni-314e9914');
    tuned.attachCni(PASSING);
    // The tuning plugin's turn comes when the interface is up.
    tuned.ip(`link set net1 address ${mac(3)}`);
    await becomes(`${mac(1)} 1`, `${mac(2)} 1`, `${mac(3)} 1`);
    tuned.ip('link del net1');
    await becomes(`${mac(1)} 1`, `${mac(2)} 1`);
    // A container that is killed leaves the rest to the end of its namespace.
    world.must(...words('ip netns del cni-1d7a1204'));
    world.must(...words('ip netns del netns-c9a68a1f'));
    await becomes();
    expect(await slaves()).toEqual([]);
  });

  it('a restart of evbd goes unnoticed by them; those that came and went meanwhile are put right', async () => {
    const container = await Container.docker('a8a270c64e1e');
    container.attachDocker('veth08824d3', mac(1));
    Container.cri('netns-c9a68a1f').attachNetavark(mac(2));
    Container.cri('cni-1d7a1204').attachCni(mac(3));
    await becomes(`${mac(1)} 1`, `${mac(2)} 1`, `${mac(3)} 1`);
    const before = await bridge.vsis();
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await station.stop(signal);
      await station.start();
      await station.must('wait', 'eth1', 'relay');
      await eventually(slaves, (is) => is.length === 3, 'every slave is found again');
      expect((await slaves()).map(({ reason }: { reason: string }) => reason)).toEqual(['', '', '']);
      // Also not for a moment: their history is what it was.
      expect(await bridge.vsis()).toEqual(before);
    }
    await station.stop();
    container.ip('link del eth0');
    world.must(...words('ip netns del netns-c9a68a1f'));
    Container.cri('cni-314e9914').attachCni(mac(4));
    await station.start();
    await becomes(`${mac(3)} 1`, `${mac(4)} 1`);
  });

  it.runIf(needs({ programs: ['ping'] }))(
    'two of them reach each other, and the host reaches them, through the switch; one that no rule matches is not let in',
    async () => {
      const containers = [mac(1), mac(2), PASSING].map((address, i) => {
        const container = Container.cri(`cni-${i}`);
        container.attachNetavark(address);
        container.ip(`address add 10.9.0.${i + 1}/24 dev eth0`);
        return container;
      });
      onHost('address add 10.9.0.254/24 dev eth1');
      await becomes(`${mac(1)} 1`, `${mac(2)} 1`);
      const reaches = (from: string[], to: number) =>
        world
          .run('sta', ...from, ...words(`ping -n -c 1 -W 1 10.9.0.${to}`))
          .then(({ status }) => status === 0);
      const inside = ({ path }: Container) => ['nsenter', `--net=${path}`];
      const [first, , stranger] = containers;
      await eventually(() => reaches(inside(first!), 2), Boolean, 'one reaches the other');
      await eventually(() => reaches([], 1), Boolean, 'the host reaches one');
      expect(await reaches(inside(stranger!), 1)).toBe(false);
      bridge.configure('ports: { swp1: { enforce: on, reflective-relay: deny } }');
      await bridge.must('reload');
      await eventually(
        async () => (await station.link('eth1')).relay,
        (is) => is === 'refused',
        'no relay',
      );
      expect(await reaches(inside(first!), 2)).toBe(false);
      expect(await reaches([], 1)).toBe(false);
    },
  );
});
