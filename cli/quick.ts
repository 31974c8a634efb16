import { mayBeClientSetting } from '../config/variables.ts'

/** What the quick program has not got: help, and the section for ssh's configuration. */
const WANTS_MORE = /^(-h|--help|--show-config)$/

/**
 * Whether the quick program (scripts/bundle-quick.mjs) can carry out this command line. It has `stdio` and `ssh` alone, and
 * no schema to check settings by that the environment gives.
 */
export function isQuick([command = '', ...words]: readonly string[], env: NodeJS.ProcessEnv): boolean {
  if (command !== 'stdio' && command !== 'ssh') return false
  return !words.some((word) => WANTS_MORE.test(word)) && !Object.keys(env).some(mayBeClientSetting)
}
