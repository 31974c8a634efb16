// Says in one line that Node is too old, before anything that an old one does not understand.
import { readFileSync } from 'node:fs'

const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const oldest = engines.node.match(/\d+/g).map(Number)

/** Plain enough for Node 10: some distributions still install one like that. */
function demand(major, minor) {
  const [isMajor, isMinor] = process.versions.node.split('.').map(Number)
  if (isMajor > major || (isMajor === major && isMinor >= minor)) return
  const found = `Node ${process.versions.node} (${process.execPath}) is too old`
  process.stderr.write(`tunnel: ${found}: install ${major}.${minor} or newer (https://nodejs.org)\n`)
  process.exit(2)
}

/** The first statement of a program. */
export const GUARD = `(${demand})(${oldest.join(', ')});`

export function demandNode() {
  demand(...oldest)
}
