/** Checks of the host: programs, configuration, daemon, rights. */

import type { Capabilities } from '../capabilities.ts';
import { quoted } from '../shell.ts';
import { type Facts, isUnknown } from './facts.ts';
import { Check, type Finding, listed, named } from './findings.ts';

const OLDEST_NODE = 20;
/** Lines of a broken configuration that are shown. */
const PROBLEMS_SHOWN = 5;

export function judgeHost(facts: Facts): Finding[] {
  return [
    node(facts),
    ...configuration(facts),
    daemon(facts),
    ...stranger(facts),
    ...policy(facts),
    ...namespace(facts),
    ...permissions(facts),
  ];
}

function node({ node: version }: Facts): Finding {
  const check = new Check('node');
  if (Number.parseInt(version, 10) >= OLDEST_NODE) return check.ok(`Node.js ${version}`);
  return check.problem(`Node.js ${version} is older than evbd can run on`, {
    mend: { do: 'install Node.js 20, 22 or 24' },
  });
}

function configuration(facts: Facts): Finding[] {
  const { configuration: fact, daemon: running, file, programs, evbctl, doctor, root } = facts;
  const check = new Check('configuration');
  const other =
    running.running && running.file !== undefined && running.file !== file ? running.file : undefined;
  if ('missing' in fact) {
    if (other !== undefined)
      return [
        check.warning(`there is no ${file}; evbd runs with ${named(other)}`, {
          mend: { run: `${evbctl} doctor --config ${quoted(other)}` },
        }),
      ];
    if (running.running && running.file === file)
      return [
        check.warning(`there is no ${file}, with which evbd runs`, {
          why: 'it was moved, or evbd is in a container',
          mend: { do: 'put it back, or run doctor where evbd runs' },
        }),
      ];
    return [
      check.problem(`there is no ${file}`, {
        mend: { do: 'write one; the least is "uplinks: { eth1: {} }" (docs/configuration.md)' },
      }),
    ];
  }
  if (isUnknown(fact)) {
    const mend = root ? undefined : { run: `sudo ${doctor}` };
    return [check.unknown(`${file}: ${fact.unknown}`, mend && { mend })];
  }
  if ('problems' in fact) {
    const { problems } = fact;
    const shown = problems.slice(0, PROBLEMS_SHOWN).map((text) =>
      check.problem(text, {
        mend: {
          do: `correct it; ${programs.evbd} --check --config ${quoted(file)} tells whether it is right then`,
        },
      }),
    );
    const rest = problems.length - PROBLEMS_SHOWN;
    return rest > 0 ? [...shown, check.problem(`${file}: ${rest} more of these`)] : shown;
  }
  const { uplinks, ports } = fact.config;
  const configured = [...Object.keys(uplinks), ...Object.keys(ports)];
  if (configured.length === 0)
    return [
      check.warning(`${file} names no uplink and no port`, {
        mend: { do: 'name one: "uplinks: { eth1: {} }" (docs/configuration.md)' },
      }),
    ];
  if (!running.running) return [check.ok(`${file} is valid`)];
  const known = running.links.map(({ name }) => name);
  const unknown = configured.filter((name) => !known.includes(name));
  const forgotten = known.filter((name) => !configured.includes(name));
  if (unknown.length + forgotten.length === 0) return [check.ok(`${file} is valid`)];
  const difference = [
    ...(unknown.length > 0 ? [`does not know ${listed(unknown)}`] : []),
    ...(forgotten.length > 0 ? [`still has ${listed(forgotten)}`] : []),
  ].join(' and ');
  if (other !== undefined)
    return [
      check.warning(`evbd runs with ${named(other)} and ${difference}`, {
        mend: { run: `${evbctl} doctor --config ${quoted(other)}` },
      }),
    ];
  return [check.warning(`${file} has changed: evbd ${difference}`, { mend: { run: `${evbctl} reload` } })];
}

function daemon({ daemon: fact, programs, busOption, file, unit, root }: Facts): Finding {
  const check = new Check('daemon');
  if (fact.running) {
    const process = fact.pid === undefined ? '' : `, process ${fact.pid}`;
    return check.ok(`evbd ${fact.version} is on ${fact.bus}${process}`);
  }
  const [reason = '', ...mends] = fact.reason.split('; ');
  if (fact.process !== undefined) {
    const { pid, bus } = fact.process;
    const mend =
      bus === 'none'
        ? { do: `start evbd with --bus system instead of --bus none (process ${pid})` }
        : { run: `${programs.evbctl} --bus ${quoted(bus)} doctor` };
    return check.problem(`${reason}, but process ${pid} is evbd with --bus ${named(bus)}`, { mend });
  }
  const sudo = root ? '' : 'sudo ';
  if (!/^evbd is not on /.test(reason)) {
    return check.problem(reason, mends.length > 0 ? { mend: { do: mends.join('; ') } } : {});
  }
  const run = unit
    ? `${sudo}systemctl start evbd`
    : `${sudo}${programs.evbd} --config ${quoted(file)}${busOption}`;
  return check.problem(reason, { why: 'nobody negotiates relay or associates guests', mend: { run } });
}

function stranger({ daemon: fact }: Facts): Finding[] {
  if (fact.running || fact.stranger === undefined) return [];
  return [
    new Check('daemon').info(`process ${fact.stranger} calls itself evbd`, {
      why: 'it is neither of root, nor of user evbd, nor yours: what it says of itself is not passed on',
    }),
  ];
}

/** Without, the system bus gives its name to nobody, root included. A daemon that runs has it. */
function policy({ daemon: fact, policy: is, root }: Facts): Finding[] {
  if (fact.running || is === undefined) return [];
  const check = new Check('bus-policy');
  if (is.installed) return [check.ok('the system bus lets evbd own org.evbd1')];
  const place = '/usr/share/dbus-1/system.d';
  return [
    check.problem('the system bus lets nobody own org.evbd1', {
      why: 'evbd ends when it cannot have its name',
      mend:
        is.file === undefined
          ? { do: `put systemd/org.evbd1.conf of evbd into ${place}` }
          : { run: `${root ? '' : 'sudo '}install -D -m 644 ${quoted(is.file)} ${place}/org.evbd1.conf` },
    }),
  ];
}

/** Everything about interfaces is about our network namespace. */
function namespace({ daemon: fact, doctor }: Facts): Finding[] {
  if (!fact.running || !fact.elsewhere) return [];
  return [
    new Check('namespace').unknown(`evbd (process ${fact.pid}) is in another network namespace`, {
      why: 'its interfaces are not to be seen from here, so they were not looked at',
      ...(fact.foreign ? {} : { mend: { run: `nsenter --net=/proc/${fact.pid}/ns/net ${doctor}` } }),
    }),
  ];
}

/** What evbd has, or would have if who asks started it. */
function permissions(facts: Facts): Finding[] {
  const { daemon: fact, root, doctor } = facts;
  const check = new Check('permissions');
  const has = fact.running ? fact.capabilities : facts.capabilities;
  if (isUnknown(has)) return [check.unknown(`what evbd may do is not known: ${has.unknown}`)];
  const { needed, useful } = needsOf(facts);
  const missing = needed.filter((capability) => !has[capability]);
  const lacking = useful.filter(({ capability }) => !has[capability]);
  const names = (capabilities: readonly (keyof Capabilities)[]) =>
    capabilities.map((each) => NAMES[each]).join(' and ');
  const all = new Set([...needed, ...useful.map(({ capability }) => capability)].map((each) => NAMES[each]));
  const grant = { do: `in its unit: AmbientCapabilities=${[...all].join(' ')}; or run it as root` };
  if (missing.length > 0) {
    const are = `${names(missing)} ${missing.length > 1 ? 'are' : 'is'} missing`;
    if (fact.running) return [check.problem(`evbd cannot work: ${are}`, { mend: grant })];
    return [
      check.problem(`this user cannot run evbd: ${are}`, {
        why: 'what only root may see was not looked at',
        mend: root
          ? { do: 'give the container these, as docker run --cap-add NET_RAW --cap-add NET_ADMIN does' }
          : { run: `sudo ${doctor}` },
      }),
    ];
  }
  return lacking.length === 0
    ? [
        check.ok(
          `${fact.running ? 'evbd has' : 'this user has'} the capabilities that the configuration needs`,
        ),
      ]
    : [
        check.warning(
          `${fact.running ? 'evbd' : 'this user'} lacks ${names([...new Set(lacking.map(({ capability }) => capability))])}`,
          {
            why: [...new Set(lacking.map(({ without }) => without))].join('; '),
            mend: grant,
          },
        ),
      ];
}

/** As evbd itself demands it, and what does more for what is configured. */
function needsOf({ configuration: fact }: Facts) {
  const config = 'config' in fact ? fact.config : undefined;
  const uplinks = Object.values(config?.uplinks ?? {});
  const needed: (keyof Capabilities)[] = ['raw'];
  if (config === undefined || Object.keys(config.ports).length > 0) needed.push('admin');
  const useful: { capability: keyof Capabilities; without: string }[] = [];
  if (uplinks.some((uplink) => uplink.slaves === 'auto')) {
    const without = 'slaves in other network namespaces are not seen';
    useful.push({ capability: 'admin', without }, { capability: 'broadcast', without });
  }
  if (uplinks.some((uplink) => uplink['when-relay-refused'] === 'bridge')) {
    useful.push({ capability: 'admin', without: 'slaves are not set to bridge mode without relay' });
    useful.push({
      capability: 'system',
      without: 'slaves elsewhere are not set to bridge mode without relay',
    });
  }
  return { needed, useful: useful.filter(({ capability }) => !needed.includes(capability)) };
}

const NAMES: Record<keyof Capabilities, string> = {
  raw: 'CAP_NET_RAW',
  admin: 'CAP_NET_ADMIN',
  broadcast: 'CAP_NET_BROADCAST',
  system: 'CAP_SYS_ADMIN',
};
