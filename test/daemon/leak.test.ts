/** A Linux bridge without spanning tree forwards EVB frames like data: evbd keeps them where they belong, and takes back what it did. */

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge', 'nft', 'dbus-daemon'] });
const SEND = new URL('./fixtures/send-frames.mjs', import.meta.url).pathname;
const LISTEN = new URL('./fixtures/listen.mjs', import.meta.url).pathname;
const UPLINK = 'uplinks: { eth1: { lldp: { tx-interval: 1 } } }';
const PORT = 'ports: { swp1: { lldp: { tx-interval: 1 } } }';
const GROUP = '0180c2000000';
const FIREWALL = `
table bridge filter {
  set ports { type iface_index; elements = { swp2 } }
  chain forward {
    type filter hook forward priority 0; policy accept;
    iif @ports ether type 0x9000 counter drop
  }
}
table ip evbd {
  chain forward { type filter hook forward priority 0; policy accept; }
}
`;

let world: World;
let station: Host;
let bridge: Host;

const nft = (...command: string[]) => world.in('br', 'nft', ...command);
const ruleset = () => nft('list', 'ruleset');
/** The ports in evbd's table; undefined: there is none. */
const stopped = (): string[] | undefined => {
  const { nftables } = JSON.parse(nft('-j', 'list', 'ruleset'));
  return nftables
    .find(({ set }: { set?: Record<string, string> }) => set?.['table'] === 'evbd')
    ?.set.elem.map(String)
    .sort();
};
const stoppedAre = (ports: string[] | undefined) =>
  eventually(stopped, (are) => JSON.stringify(are) === JSON.stringify(ports), `stopped ports ${ports}`);
const leak = async () => {
  const { leak: state, leakReason } = await bridge.link('swp1');
  return `${state}: ${leakReason}`;
};
const stp = (on: 0 | 1) => world.in('br', 'ip', 'link', 'set', 'br0', 'type', 'bridge', 'stp_state', `${on}`);

/** Joins a third namespace, `other`, to the bridge. */
function addOther(): void {
  world.must('ip', 'netns', 'add', 'other');
  const peer = ['type', 'veth', 'peer', 'name', 'swp2', 'netns', 'br'];
  world.must('ip', 'link', 'add', 'eth2', 'netns', 'other', ...peer);
  world.in('br', 'ip', 'link', 'set', 'swp2', 'master', 'br0', 'up');
  world.in('other', 'ip', 'link', 'set', 'eth2', 'up');
}

/**
 * What is heard at one place, of what evbd sends in the meantime and of frames sent in another: one to the group address and one
 * that shall get through; the latter ends it.
 */
async function heard(at: [string, string], from: [string, string]): Promise<string[]> {
  const listener = world.start(at[0], [process.execPath, LISTEN, at[1]]);
  await once(listener.stdout!, 'data');
  const source = '020000000099';
  const marker = `ffffffffffff${source}88b6`.padEnd(120, '0');
  const file = join(world.folder, 'frames');
  writeFileSync(file, [`${GROUP}${source}88b5`.padEnd(120, '0'), marker].join('\n'));
  let text = '';
  const marked = new Promise<void>((resolve) =>
    listener.stdout!.on('data', (data) => {
      text += data;
      if (text.includes(marker)) resolve();
    }),
  );
  expect(await world.run(from[0], process.execPath, SEND, from[1], file)).toMatchObject({ status: 0 });
  await marked;
  listener.kill('SIGKILL');
  return text.split('\n').filter((line) => line.startsWith(GROUP));
}

async function connect(ports = PORT): Promise<void> {
  station = await Host.create(world, 'sta', UPLINK);
  bridge = await Host.create(world, 'br', ports);
  await bridge.start();
  await station.start();
  await station.must('wait', 'eth1', 'relay');
}

beforeEach(async () => {
  if (!ready) return;
  world = await World.wired();
  addOther();
});
afterEach(() => world?.end());

describe.runIf(ready)('a leak', { timeout: 60_000 }, () => {
  it('is stopped: other ports hear nothing of EVB, and the station no echo', async () => {
    await connect();
    await stoppedAre(['swp1']);
    expect(await leak()).toBe(
      'stopped: bridge br0 has spanning tree off; EVB frames are kept from its other ports',
    );
    const before = (await station.link('eth1')).counters.framesOwnEchoed;
    expect(await heard(['other', 'eth2'], ['sta', 'eth1'])).toEqual([]);
    const atStation = await heard(['sta', 'eth1'], ['other', 'eth2']);
    // Its bridge is heard, and nobody else.
    const { mac } = await bridge.link('swp1');
    expect(atStation.filter((frame) => frame.slice(12, 24) !== mac.replaceAll(':', ''))).toEqual([]);
    expect((await station.link('eth1')).counters.framesOwnEchoed).toBe(before);
    expect(await bridge.must('status')).toMatch(/leak\s+stopped: bridge br0 has spanning tree off/);
  });

  it('is let, and said so, where it shall only be reported', async () => {
    await connect(PORT.replace('swp1: {', 'swp1: { leak: report,'));
    expect(await leak()).toMatch(
      /^open: bridge br0 has spanning tree off: EVB frames leak to its other ports \(leak: report\)/,
    );
    expect(bridge.log).toContain('leak open: bridge br0 has spanning tree off');
    expect(stopped()).toBeUndefined();
    expect(await heard(['other', 'eth2'], ['sta', 'eth1'])).not.toEqual([]);
    expect(await heard(['sta', 'eth1'], ['other', 'eth2'])).toEqual(
      expect.arrayContaining([expect.stringContaining('02000000009988b5')]),
    );
    await eventually(
      async () => (await station.link('eth1')).counters.framesOwnEchoed,
      (echoed) => echoed > 0,
      'echoes',
    );
  });

  it('is followed: reload, spanning tree, the port out of its bridge, a firewall that flushes all', async () => {
    await connect();
    await stoppedAre(['swp1']);
    bridge.configure(PORT.replace('swp1: {', 'swp1: { leak: report,'));
    expect(await bridge.must('reload')).toContain('ports.swp1: changed');
    await stoppedAre(undefined);
    bridge.configure(PORT);
    await bridge.must('reload');
    await stoppedAre(['swp1']);
    stp(1);
    await stoppedAre(undefined);
    await eventually(leak, (text) => text === 'none: ', 'no leak');
    stp(0);
    await stoppedAre(['swp1']);
    world.in('br', 'ip', 'link', 'set', 'swp1', 'nomaster');
    await stoppedAre(undefined);
    world.in('br', 'ip', 'link', 'set', 'swp1', 'master', 'br0');
    await stoppedAre(['swp1']);
    nft('flush', 'ruleset');
    await stoppedAre(['swp1']);
    const warned = 'the table evbd of nftables was changed or deleted by someone else';
    await eventually(
      () => bridge.log,
      (log) => log.includes(warned),
      'the warning',
    );
    expect(await leak()).toMatch(/^stopped/);
    expect(await heard(['other', 'eth2'], ['sta', 'eth1'])).toEqual([]);
    bridge.configure('ports: {}');
    await bridge.must('reload');
    expect(ruleset()).toBe('');
  });
});

describe.runIf(ready)('what was done against a leak', { timeout: 60_000 }, () => {
  const file = () => {
    const path = join(world.folder, 'firewall');
    writeFileSync(path, FIREWALL);
    return path;
  };

  it('goes with a release, and comes with the reload after it; tables of others stay as they are', async () => {
    nft('-f', file());
    const before = ruleset();
    await connect();
    await stoppedAre(['swp1']);
    await bridge.must('release', 'swp1');
    expect(ruleset()).toBe(before);
    expect(await leak()).toBe('none: ');
    await bridge.must('reload');
    await stoppedAre(['swp1']);
    expect(ruleset().startsWith(before.trimEnd())).toBe(true);
  });

  it('stays with on-exit: keep, and the next start takes it over', async () => {
    await connect();
    await stoppedAre(['swp1']);
    const before = ruleset();
    expect(await bridge.stop()).toBe(0);
    expect(ruleset()).toBe(before);
    await bridge.start();
    await eventually(leak, (text) => text.startsWith('stopped'), 'stopped');
    expect(ruleset()).toBe(before);
    expect(bridge.log).not.toContain('by someone else');
  });

  it('goes with on-exit: release', async () => {
    nft('-f', file());
    const before = ruleset();
    await connect(`on-exit: release\n${PORT}`);
    await stoppedAre(['swp1']);
    expect(await bridge.stop()).toBe(0);
    expect(ruleset()).toBe(before);
  });

  it('is undone by the start after a kill -9 that does not know the port any more', async () => {
    nft('-f', file());
    const before = ruleset();
    await connect('ports: { swp1: {}, swp2: {} }');
    await stoppedAre(['swp1', 'swp2']);
    await bridge.stop('SIGKILL');
    expect(stopped()).toEqual(['swp1', 'swp2']);
    bridge.configure('ports: { swp2: {} }');
    await bridge.start();
    await stoppedAre(['swp2']);
    await bridge.stop('SIGKILL');
    bridge.configure('ports: {}');
    await bridge.start();
    await stoppedAre(undefined);
    expect(ruleset()).toBe(before);
  });
});

describe.runIf(ready)('isolated', { timeout: 60_000 }, () => {
  const isolated = () => world.bridgePort('br', 'swp1')['isolated'];
  const isolate = () => world.in('br', 'bridge', 'link', 'set', 'dev', 'swp1', 'isolated', 'on');

  it('report: it is said that relay is not active because of it', async () => {
    isolate();
    station = await Host.create(world, 'sta', UPLINK);
    bridge = await Host.create(world, 'br', PORT);
    await bridge.start();
    await station.start();
    await station.must('wait', 'eth1', 'negotiated');
    await eventually(
      () => bridge.link('swp1'),
      ({ relay, relayReason }) => relay === 'refused' && /is isolated, which .* hairpin/.test(relayReason),
      'the reason',
    );
    expect(isolated()).toBe(true);
  });

  it('clear: it is off while relay is active, whoever sets it, and as it was afterwards', async () => {
    isolate();
    await connect(PORT.replace('swp1: {', 'swp1: { isolated: clear,'));
    expect(isolated()).toBe(false);
    isolate();
    await eventually(isolated, (is) => is === false, 'isolated off');
    await eventually(
      () => bridge.link('swp1'),
      ({ relay }) => relay === 'active',
      'relay',
    );
    await station.must('release', 'eth1');
    await eventually(isolated, (is) => is === true, 'isolated as it was');
    await station.must('reload');
    await eventually(isolated, (is) => is === false, 'isolated off');
    await bridge.stop('SIGKILL');
    bridge.configure('ports: {}');
    await bridge.start();
    expect(isolated()).toBe(true);
  });
});
