import { suite } from "uvu";
import { testAnchored } from "./anchored-models.js";

const test = suite("anchored stories260k");
testAnchored(test, "stories260k", 60_000);
test.run();
