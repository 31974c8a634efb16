/** What a diagnosis from Node needs; loaded by the first. */
export { tryMachine } from './machine-steps.ts'
export { tryNetwork } from './network.ts'
export { diagnose } from './run.ts'
export { subjectOf } from './subject.ts'
