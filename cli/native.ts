import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/** What optional native parts would make quicker and are not there, as sentences for an operator. */
export function missingSpeedUps(canLoad: (name: string) => boolean = isLoadable): string[] {
  if (canLoad('bufferutil')) return []
  return [
    'the optional package bufferutil is missing: bulk data costs more CPU time (npm install bufferutil)',
  ]
}

function isLoadable(name: string): boolean {
  try {
    require(name)
    return true
  } catch {
    return false
  }
}
