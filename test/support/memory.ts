import type { Program } from './process.ts'

/** For the NODE_OPTIONS of a program that tells its memory. */
export const TELLS_MEMORY = `--import ${new URL('./tell-memory.mjs', import.meta.url).href}`

const asked = new WeakMap<Program, number>()

/** A collection that frees less than this was the last that was needed, in bytes. */
const LITTLE_BYTES = 65_536

/** What a program that was started with TELLS_MEMORY holds when its garbage has been collected, in bytes. */
export async function liveBytes(program: Program): Promise<number> {
  // What waits for a finalizer goes only with a later collection.
  for (let before = await collected(program); ; ) {
    const after = await collected(program)
    if (before - after < LITTLE_BYTES) return after
    before = after
  }
}

async function collected(program: Program): Promise<number> {
  const turn = (asked.get(program) ?? 0) + 1
  asked.set(program, turn)
  program.kill('SIGUSR2')
  const [, bytes] = await program.line(new RegExp(`^memory ${turn}: (\\d+) bytes$`), 'stderr')
  return Number(bytes)
}
