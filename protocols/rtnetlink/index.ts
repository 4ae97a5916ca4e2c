export * from './attributes.ts';
export * from './constants.ts';
export * from './ethtool.ts';
export * from './fdb.ts';
export * from './link.ts';
export * from './message.ts';
export * from './namespace.ts';
