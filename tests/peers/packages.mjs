// npm packages, from the folder that `tests/run` installs them into.
import { createRequire } from "node:module";

export const require = createRequire(`${process.env.PEERS_NODE}/`);
