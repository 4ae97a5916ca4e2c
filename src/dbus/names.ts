/** The names on the bus: fixed by the contract with scripts and hooks. */

export const BUS_NAME = 'org.evbd1';
export const ROOT = '/org/evbd1';
export const MANAGER = 'org.evbd1.Manager';
export const LINK = 'org.evbd1.Link';
export const VSI = 'org.evbd1.Vsi';
/** Prefix of the error names; what follows is an `ErrorName` of the daemon's model. */
export const ERROR_PREFIX = 'org.evbd1.Error.';

/**
 * One element of an object path, as systemd's bus_label_escape: letters stay, digits stay except in front, every other
 * octet becomes `_` and two hex digits, nothing becomes `_`.
 */
export function escapeLabel(label: string): string {
  if (label === '') return '_';
  return label.replace(/^[0-9]|[^A-Za-z0-9]+/g, (odd) => {
    let escaped = '';
    for (const octet of Buffer.from(odd, 'utf8')) escaped += `_${octet.toString(16).padStart(2, '0')}`;
    return escaped;
  });
}

/** The inverse of `escapeLabel`; an underscore without two hex digits stays as it is. */
export function unescapeLabel(escaped: string): string {
  if (escaped === '_') return '';
  const octets: number[] = [];
  for (let i = 0; i < escaped.length; i++) {
    const hex = escaped.slice(i + 1, i + 3);
    if (escaped[i] === '_' && /^[0-9a-fA-F]{2}$/.test(hex)) {
      octets.push(Number.parseInt(hex, 16));
      i += 2;
    } else {
      octets.push(escaped.charCodeAt(i));
    }
  }
  return Buffer.from(octets).toString('utf8');
}

export function linkPath(name: string): string {
  return `${ROOT}/link/${escapeLabel(name)}`;
}

export function vsiPath(link: string, id: string): string {
  return `${ROOT}/vsi/${escapeLabel(link)}/${escapeLabel(id)}`;
}

/** What a path of ours stands for; null for the root and for paths of others. */
export function parsePath(
  path: string,
): { kind: 'link'; name: string } | { kind: 'vsi'; link: string; id: string } | null {
  const [kind, first, second, ...rest] = path.startsWith(`${ROOT}/`)
    ? path.slice(ROOT.length + 1).split('/')
    : [];
  if (first === undefined || rest.length > 0) return null;
  if (kind === 'link' && second === undefined) return { kind, name: unescapeLabel(first) };
  if (kind === 'vsi' && second !== undefined)
    return { kind, link: unescapeLabel(first), id: unescapeLabel(second) };
  return null;
}
