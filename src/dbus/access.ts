/** Who may change things on the system bus: user 0 and the members of group evbd. */

import { readFile } from 'node:fs/promises';

import type { Connection } from './connection.ts';
import { type Dictionary, type Value, Variant } from './wire.ts';

const GROUP = 'evbd';
const DEADLINE = 10_000;
const MAX_REMEMBERED = 1024;

export class Access {
  /** A bus gives a unique name once, and its credentials are those of the time it connected. */
  private readonly remembered = new WeakMap<Connection, Map<string, Promise<boolean>>>();

  /** Whether the owner of this unique name may change things. Rejects with CallError when it has left the bus. */
  isAllowed(sender: string, connection: Connection): Promise<boolean> {
    let senders = this.remembered.get(connection);
    if (senders === undefined) {
      senders = new Map();
      this.remembered.set(connection, senders);
    }
    let allowed = senders.get(sender);
    if (allowed === undefined) {
      allowed = ask(sender, connection);
      senders.set(sender, allowed);
      allowed.catch(() => senders.delete(sender));
      if (senders.size > MAX_REMEMBERED) senders.delete(senders.keys().next().value!);
    }
    return allowed;
  }
}

async function ask(sender: string, connection: Connection): Promise<boolean> {
  const [reply] = await connection.callBus('GetConnectionCredentials', 's', [sender], DEADLINE);
  const credentials = reply as Dictionary;
  const uid = plain(credentials['UnixUserID']);
  if (uid === 0) return true;
  if (typeof uid !== 'number') return false;
  const groups = plain(credentials['UnixGroupIDs']);
  return isMember(
    uid,
    Array.isArray(groups) ? (groups as number[]) : null,
    await readFile('/etc/passwd', 'utf8').catch(() => ''),
    await readFile('/etc/group', 'utf8').catch(() => ''),
  );
}

function plain(value: Value | undefined): Value | undefined {
  return value instanceof Variant ? value.value : value;
}

/**
 * Whether this user is in group evbd. `groups`: the process's own, from the bus; without them (dbus-daemon before
 * 1.15) the user's, from the contents of passwd and group.
 */
export function isMember(
  uid: number,
  groups: readonly number[] | null,
  passwd: string,
  group: string,
): boolean {
  const entry = group
    .split('\n')
    .map((line) => line.split(':'))
    .find(([name]) => name === GROUP);
  if (entry === undefined) return false;
  const gid = Number(entry[2]);
  if (groups !== null) return groups.includes(gid);
  const user = passwd
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[2] === String(uid));
  if (user === undefined) return false;
  return Number(user[3]) === gid || (entry[3] ?? '').split(',').includes(user[0]!);
}
