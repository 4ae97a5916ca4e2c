export * from './batch.ts';
export * from './constants.ts';
export * from './expression.ts';
export * from './table.ts';
